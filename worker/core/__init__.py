"""What everything else in the worker stands on: settings, errors, batches, threads that outlive outages."""
