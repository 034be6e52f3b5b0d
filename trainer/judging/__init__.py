"""Figures that a detector is judged by; arithmetic only."""
