"""The one entry for notifications: accepts them, routes them, and knows what became of each."""
