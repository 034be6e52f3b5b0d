"""Cases, the reviewers who hold them, and what was decided."""
