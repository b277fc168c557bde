"""Pure decisions: what a mail says, and what the push provider answers."""
