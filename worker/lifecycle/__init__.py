"""How a worker process starts, consumes and stops."""
