"""What the gateway does, one file for each verb; what they need of the world are the Protocols in `ports`."""
