"""What a detector is: network, weights, checkpoint, model card."""
