"""Connections, transactions, locks and the dialects of SQL."""
