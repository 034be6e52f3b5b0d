"""Where in a photo the detector sees its evidence: attribution maps and their overlay."""
