"""What the actions ask for and a library or a file gives: hashes, signatures, kept secrets."""
