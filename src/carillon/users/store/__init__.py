"""Every SQL statement of the users service, by subject; a method is one unit of work."""
