"""Labelled pictures: manifest, splits, the shortcut guard."""
