"""Pages about many cases at once: the batch, saved views, search."""
