"""Model versions in memory, the engines that run them, and the watch over both."""
