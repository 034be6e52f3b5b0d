"""Who may use the console: people, sign-ins, the limit on failed sign-ins, the audit log."""
