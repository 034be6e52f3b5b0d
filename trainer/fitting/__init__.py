"""From pictures to a fitted head: embeddings, their cache, and the training loops."""
