"""Admin commands on the record, one noun a module, imported when they run. None needs torch or a broker."""
