"""Connection handling that the console and the HTTP API share."""
