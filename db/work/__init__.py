"""What workers are asked to do: images, on-demand requests, backfills, webhooks to deliver."""
