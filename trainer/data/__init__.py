"""Labelled pictures: the manifest, its splits, and the guard against shortcuts."""
