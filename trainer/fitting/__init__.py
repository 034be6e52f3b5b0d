"""Embedding, and the loops that fit."""
