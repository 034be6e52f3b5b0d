"""The service: workers pull images from Redis, score them in batches and record scores and flags in SQL."""
