"""Who people are, how they may be reached, what they agreed to, and what every caller may do."""
