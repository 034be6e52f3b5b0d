"""The commands that fit, measure and explain detectors, one module each, imported when they run."""
