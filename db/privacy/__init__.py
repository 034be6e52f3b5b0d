"""Erasure, retention, pseudonyms."""
