"""Policies are added by name, and the database itself refuses photos and thresholds of any other."""

import pytest
from sqlalchemy import insert, text

from db.errors import ConflictError, DatabaseError, DbError, IdError, NotFoundError
from db.policy import policies, thresholds
from db.policy.attribution import ChangeAuthor
from db.schema import Threshold
from db.store.session import Database

ADA = ChangeAuthor("ada", "asked for")
INSERT = "INSERT INTO images (id, account_id, url, policy) VALUES ('a', 'acc', 'a.jpg', 'vip')"


def test_a_policy_says_who_added_it_and_why(database: Database) -> None:
    with database.writing() as session:
        policies.add_policy(session, "vip", ADA, weight=3)
    with database.reading() as session:
        (_, row) = policies.list_policies(session)
        assert (row.name, row.weight, row.created_by, row.reason) == ("vip", 3, "ada", "asked for")


def test_a_policy_is_added_once(database: Database) -> None:
    with pytest.raises(ConflictError, match="policy 'default' exists already"), database.writing() as session:
        policies.add_policy(session, "default", ADA)


def test_a_policy_that_looks_like_another_is_refused_by_name(database: Database) -> None:
    with pytest.raises(ConflictError, match="'Default' looks like 'default'"), database.writing() as session:
        policies.add_policy(session, "Default", ADA)


@pytest.mark.parametrize("name", ["", "a\nb", "x" * 129])
def test_a_name_that_is_no_id_is_refused(database: Database, name: str) -> None:
    with pytest.raises(IdError, match="policy must be"), database.writing() as session:
        policies.add_policy(session, name, ADA)


@pytest.mark.parametrize("weight", [0, -1, 1001])
def test_a_weight_out_of_range_is_refused(database: Database, weight: int) -> None:
    with pytest.raises(DbError, match="weight must be 1 to 1000"), database.writing() as session:
        policies.add_policy(session, "vip", ADA, weight)


def test_the_database_refuses_images_of_an_unknown_policy_from_whoever_writes_them(database: Database) -> None:
    with pytest.raises(DatabaseError, match="is unknown: add it with `unmask policy add`"):
        _execute(database, INSERT)
    with database.writing() as session:
        policies.add_policy(session, "vip", ADA)
    _execute(database, INSERT)
    with pytest.raises(DatabaseError, match="is unknown"):
        _execute(database, "UPDATE images SET policy = 'other'")


def test_thresholds_are_for_known_policies_only(database: Database, version_id: int) -> None:
    with pytest.raises(NotFoundError, match="policy 'vip' is unknown"), database.writing() as session:
        thresholds.set_value(session, version_id, "vip", 0.5, "ada", "")
    row = {"version_id": version_id, "policy": "vip", "value": 0.5, "author": "ada", "reason": ""}
    with pytest.raises(DatabaseError, match="is unknown"), database.writing() as session:
        session.execute(insert(Threshold).values(row))


def _execute(database: Database, statement: str) -> None:
    with database.writing() as session:
        session.execute(text(statement))
