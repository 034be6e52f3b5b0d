"""Model versions in memory, the engines that run them, and the watchdog over each batch."""
