"""What a worker reports about itself: metrics, logs, health, refused messages."""
