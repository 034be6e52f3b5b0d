"""The web console: what reviewers, leads and auditors work in. Started by ``unmask console``."""
