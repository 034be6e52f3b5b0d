"""Model versions, and the reference sets of real photos on which their thresholds are measured."""
