"""When a score becomes a flag: thresholds, pauses, and what a changed threshold does to cases."""
