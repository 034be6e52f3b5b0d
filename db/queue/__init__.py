"""Which cases wait in which order: ranking, target times, filters, saved views, search."""
