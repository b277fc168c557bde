"""Every SQL statement of the gateway, one file for each thing that is kept or asked."""
