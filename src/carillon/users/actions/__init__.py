"""What the users service does, one file per matter; stores and providers are ports, owned here."""
