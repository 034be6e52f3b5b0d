"""From bytes to 512x512 RGB: the decoder, its limits, and the views that imitate a photo's way."""
