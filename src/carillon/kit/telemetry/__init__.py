"""Logs and metrics that tell the same story, with the correlation id on every line."""
