"""The far side for those who have none yet: a mail server that keeps what it gets, and a push provider as strict as the
real one."""
