"""Rows that may be left in ``deliveries``, where a database has no constraints: each kind as SQL."""

from db.store.session import Database

#: Changes of the delivery of an image, in SQL.
ODD = {
    "an event that is none": "event = 'nonsense'",
    "a case that is none": "image_id = NULL, case_id = 4711, version = id",
    "of neither a case nor an image": "image_id = NULL",
    "of an image that is none": "image_id = 'nobody'",
    "of a case and an image": "case_id = (SELECT min(id) FROM cases), version = id",
    "attempts that cannot grow": "attempts = 2147483647",
    "attempts below any count": "attempts = -2147483648",
    "a reason of a million characters": "reason = {million}",
}
ODD_ON_POSTGRESQL = {
    "never due": "next_attempt_at = 'infinity'",
    "due since ever": "next_attempt_at = '-infinity'",
    "written before all times": "created_at = '-infinity'",
    "written too late": "created_at = '20000-01-01'",
}
ODD_ON_SQLITE = {
    "an event that is a blob": "event = x'00ff'",
    "an image in Latin-1": "image_id = CAST(x'6f6464e9' AS TEXT)",
    "an image that is a blob": "image_id = CAST(image_id AS BLOB)",
    "attempts that are text": "attempts = 'many'",
    "attempts that are infinite": "attempts = 9e999",
    "a case that is text": "image_id = NULL, case_id = 'first', version = id",
    "a version that is text": "image_id = NULL, case_id = (SELECT min(id) FROM cases), version = 'v' || id",
    "never due": "next_attempt_at = 'tomorrow'",
    "due at a number": "next_attempt_at = 7",
    "written at a word": "created_at = 'whenever'",
    "a reason that is a blob": "reason = x'ff'",
}


def all_kinds(database: Database) -> dict[str, str]:
    """What this database may hold: kind: the change of a delivery."""
    is_sqlite = database.url.get_backend_name() == "sqlite"
    return ODD | (ODD_ON_SQLITE if is_sqlite else ODD_ON_POSTGRESQL)
