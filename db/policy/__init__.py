"""From which score on a policy flags, and what a change of that does to cases."""
