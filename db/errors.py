"""This room's errors: each message is one line that names the thing, the value and the limit."""


class DbError(Exception):
    """The base of every error that this room raises deliberately."""


class SettingsError(DbError):
    """Settings are unusable; the message names each of them."""


class DatabaseError(DbError):
    """The database is unavailable, has another schema, or refused a statement."""


class DatabaseUnavailableError(DatabaseError):
    """The database cannot be reached or written to at present: the same call may succeed later."""


class NotFoundError(DbError):
    """The record has nothing of this name or id."""


class ConflictError(DbError):
    """The record holds something that contradicts this."""


class DeniedError(DbError):
    """This person may not do this: not signed in, not in the role, or too often."""


class BusyError(DbError):
    """Too much is in hand at this moment; the same request may succeed in a few seconds."""


class IdError(DbError, ValueError):
    """This text cannot be an id."""


class StaleError(ConflictError):
    """The thing has changed since the page was made on which somebody decided."""


class HeldError(ConflictError):
    """Somebody else holds this case or sample."""


class SecondPersonError(ConflictError):
    """This person has already decided; somebody else must."""
