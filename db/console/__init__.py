"""The web console for reviewers, leads and auditors. ``unmask console`` starts it."""
