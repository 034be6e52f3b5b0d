"""One image's way: lease, fetch, decode, score, record; and work that people ask for."""
