"""HTTP for every service: the envelope, the edge, access by permission, the client."""
