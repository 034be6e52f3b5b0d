"""Whole runs, from files to files: fit, evaluate, leave one engine out, robustness, export."""
