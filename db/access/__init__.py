"""People of the console: accounts, sign-ins, the audit log."""
