"""How a worker process starts, consumes and ends."""
