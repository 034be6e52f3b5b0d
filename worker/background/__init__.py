"""Threads beside the queue: the relay, the webhook dispatcher, the lease renewer, backfills, perceptual hashes."""
