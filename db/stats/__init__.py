"""Statistics that db and trainer share, without dependencies: intervals, empirical FPR, stratified rates, drift."""
