"""The admin commands, one noun a module, imported when they run. None needs torch or a broker."""
