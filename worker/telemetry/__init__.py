"""What a worker says of itself: counters, logs, health."""
