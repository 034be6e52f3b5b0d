"""One image's way: lease, fetch, decode, score, record, retry; and the work that people ask for."""
