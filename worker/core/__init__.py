"""What the rest of the worker builds on: settings, errors, batching, periodic threads, waiting out an outage."""
