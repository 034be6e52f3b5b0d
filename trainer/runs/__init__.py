"""Whole runs: fit, evaluate, leave one engine out, robustness."""
