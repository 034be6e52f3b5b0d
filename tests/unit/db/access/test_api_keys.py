"""Keys are random, shown once, and nobody can read them in the record."""

import pytest
from sqlalchemy import text

from db.access import api_keys
from db.errors import ConflictError, DatabaseError, DbError, IdError, NotFoundError
from db.store.session import Database


def add(database: Database, name: str = "app", *scopes: str) -> str:
    with database.writing() as session:
        return api_keys.add_key(session, name, scopes or ("read",), "ada")


def test_the_record_knows_a_key_by_its_digest_alone(database: Database) -> None:
    key, other = add(database, "app", "read", "submit"), add(database, "other")
    assert key != other
    with database.reading() as session:
        whole = str(session.execute(text("SELECT * FROM api_keys")).all())
        assert key not in whole
        assert key.removeprefix("unmask_") not in whole
        caller = api_keys.find(session, key)
    assert caller is not None
    assert (caller.name, sorted(caller.scopes), caller.policy) == ("app", ["read", "submit"], None)


@pytest.mark.parametrize("key", ["", "unmask_", "unmask_" + "x" * 43, "x" * 10_000, "unmask_é" + "x" * 42])
def test_what_is_no_key_finds_nobody(database: Database, key: str) -> None:
    add(database)
    with database.reading() as session:
        assert api_keys.find(session, key) is None


def test_a_revoked_key_finds_nobody_and_its_name_is_not_given_again(database: Database) -> None:
    key = add(database)
    with database.writing() as session:
        first = api_keys.revoke_key(session, "app").revoked_at
        assert api_keys.revoke_key(session, "app").revoked_at == first
        assert api_keys.find(session, key) is None
    with pytest.raises(ConflictError, match="key 'app' exists or was revoked"):
        add(database)
    with pytest.raises(ConflictError, match="key 'APP' looks like 'app', which exists or was revoked"):
        add(database, "APP")


def test_wrong_scopes_names_and_policies_are_refused(database: Database) -> None:
    with pytest.raises(DbError, match="scopes must be among submit, read, delete: write"):
        add(database, "app", "write")
    with pytest.raises(IdError):
        add(database, "a\nb")
    with pytest.raises(NotFoundError, match="key 'nobody' is not in the record"), database.writing() as session:
        api_keys.revoke_key(session, "nobody")
    with pytest.raises(DatabaseError), database.writing() as session:
        api_keys.add_key(session, "app", ["read"], "ada", policy="unknown")
