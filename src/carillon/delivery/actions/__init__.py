"""What a channel worker does: prepare a message, attempt it, deliver a batch of them."""
