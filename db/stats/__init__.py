"""Statistics without SQL and without SciPy."""
