"""The application's own worker."""


def thumbnail(path: str) -> str:
    """Where the small picture of a photo is."""
    return f"thumbnails/{path}"
