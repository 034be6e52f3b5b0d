"""What pages show: a case's photos, scores on a scale, plots, and how numbers and times read."""
