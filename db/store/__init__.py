"""Connections, transactions, locks, ids, and the dialects of SQL."""
