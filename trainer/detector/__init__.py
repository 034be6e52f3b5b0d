"""What a detector is: network, weights, checkpoint, card."""
