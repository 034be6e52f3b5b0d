"""Who may give commands: everybody while nobody is registered, then those who are, in their roles."""

import pytest
from sqlalchemy.orm import Session

from db.access import actors, people
from db.errors import DeniedError, IdError


def test_while_nobody_is_registered_everybody_may(session: Session) -> None:
    assert actors.require_actor(session, "eve", actors.LEADS) == "eve"
    assert actors.require_manager(session, "eve") == "eve"


def test_then_only_those_who_are_in_their_role(session: Session) -> None:
    people.add_person(session, "ada", "lead")
    people.add_person(session, "bob", "reviewer")
    people.add_person(session, "abe", "auditor")
    assert actors.require_actor(session, "ada", actors.LEADS) == "ada"
    assert actors.require_actor(session, "bob", actors.DECIDERS) == "bob"
    with pytest.raises(DeniedError, match="eve is not registered: set UNMASK_ACTOR"):
        actors.require_actor(session, "eve", actors.DECIDERS)
    with pytest.raises(DeniedError, match="bob is registered as reviewer: only a lead may do this"):
        actors.require_actor(session, "bob", actors.LEADS)
    with pytest.raises(DeniedError, match="abe is registered as auditor: only a reviewer or lead may do this"):
        actors.require_actor(session, "abe", actors.DECIDERS)


def test_whoever_is_disabled_gives_no_commands(session: Session) -> None:
    people.set_disabled(session, people.add_person(session, "ada", "lead"), disabled=True)
    with pytest.raises(DeniedError, match="ada is disabled"):
        actors.require_actor(session, "ada", actors.LEADS)


def test_where_no_lead_is_left_anybody_may_make_one(session: Session) -> None:
    people.add_person(session, "bob", "reviewer")
    ada = people.add_person(session, "ada", "lead")
    with pytest.raises(DeniedError, match="eve is not registered"):
        actors.require_manager(session, "eve")
    people.set_disabled(session, ada, disabled=True)
    assert actors.require_manager(session, "eve") == "eve"


def test_a_name_that_is_none_is_refused(session: Session) -> None:
    with pytest.raises(IdError, match="UNMASK_ACTOR"):
        actors.require_actor(session, "", actors.LEADS)
