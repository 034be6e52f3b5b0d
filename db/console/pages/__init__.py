"""The console's pages: each a plain function from a visit to an answer."""
