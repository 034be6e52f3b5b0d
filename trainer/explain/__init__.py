"""Where in a photo the detector sees its evidence."""
