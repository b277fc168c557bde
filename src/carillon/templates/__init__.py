"""What is said: templates by code, channel and language, with every version kept and one of them published."""
