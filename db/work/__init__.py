"""What workers are asked to do: images, on-demand requests, backfills, webhook deliveries."""
