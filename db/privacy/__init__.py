"""Erasure of accounts, retention periods, and pseudonyms for logs and reports."""
