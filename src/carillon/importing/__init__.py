"""`carillon users import`: people of another system, from a file, through the API."""
