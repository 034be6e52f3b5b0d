"""The HTTP API: applications submit photos and read their verdicts."""
