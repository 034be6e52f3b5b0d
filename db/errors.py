"""What goes wrong in this room, as one-line messages that name the thing, the value and the limit."""


class DbError(Exception):
    """The base of every error that this room raises on purpose."""


class SettingsError(DbError):
    """Settings that cannot be used; the message names every one of them."""


class DatabaseError(DbError):
    """The database is away, of an older or newer schema, or refuses what it was asked."""


class DatabaseAwayError(DatabaseError):
    """The database cannot be reached, or cannot write, for now: the same again may succeed later."""


class NotFoundError(DbError):
    """Something that was asked for by name is not in the record."""


class ConflictError(DbError):
    """Something known under this id says otherwise."""


class DeniedError(DbError):
    """Somebody may not do this: not signed in, not of the role, or too often."""


class IdError(DbError, ValueError):
    """Text that cannot be an id."""


class StaleError(ConflictError):
    """It has changed since the page on which somebody decided was made."""


class HeldError(ConflictError):
    """Somebody else is looking at it."""


class SecondPersonError(ConflictError):
    """This person has had their say; somebody else decides."""
