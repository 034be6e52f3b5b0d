"""Whether the model still works: blind samples, live precision, drift."""
