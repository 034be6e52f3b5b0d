"""The metrics that a detector is judged by: conditions, cohorts, results. Arithmetic only."""
