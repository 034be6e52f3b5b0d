"""The Celery app, its Redis transport, and the check that every message passes."""

from worker.broker.library_check import check_libraries

check_libraries("kombu")  # before any class here derives from it
