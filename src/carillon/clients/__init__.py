"""Typed clients of the users and templates services, with caches that survive the other side's absence."""
