"""`carillon simulate`: a mail server and a push provider that misbehave as told, for people who test what they send."""
