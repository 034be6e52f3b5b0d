"""Admin commands on the record, a module each."""
