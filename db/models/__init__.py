"""Model versions, and the real photos by which their thresholds are measured."""
