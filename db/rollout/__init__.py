"""Switching from one model version to another."""
