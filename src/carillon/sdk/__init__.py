"""The client for applications: sign in, notify, ask what became of it."""
