"""The Celery app, its Redis transport, and what a message may be."""
