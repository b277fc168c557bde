"""What every channel worker does with a request: look up, decide, render, claim, send, report."""
