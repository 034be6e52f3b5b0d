"""The commands that need a broker or a detector, one module each, imported when they run."""
