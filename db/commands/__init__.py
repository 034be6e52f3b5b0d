"""The commands of this room, one a module, imported when they run."""
