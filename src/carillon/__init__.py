"""Carillon: a notification system that commits before it answers and can always say what became of a message."""
