"""Bytes to 512x512 RGB, its limits, and what happens to photos on their way."""
