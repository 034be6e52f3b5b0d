"""The page about a detector, its plots, and the findings that go into the card."""
