"""What many tests share: waiting with a deadline and real servers; nothing here is a test."""
