"""Threads beside the queue: sweeper, webhooks, leases, backfills, perceptual hashes."""
