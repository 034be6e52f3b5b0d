"""Cases, who looks at them, and what was decided."""
