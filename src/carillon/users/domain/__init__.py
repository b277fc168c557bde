"""People as values: who they are, what they agreed to, what they are known by. Pure."""
