"""The console's pages: each a function from a `PageContext` to a response. ``show_*`` functions answer a GET."""
