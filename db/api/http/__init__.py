"""HTTP for every operation: the server, bodies within their limits, request ids, problems."""
