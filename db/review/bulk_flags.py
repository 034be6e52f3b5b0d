"""Flags for many photos at once: of a changed threshold, or of a policy that now acts on what files say."""

from typing import Any

from sqlalchemy import Select, select, text
from sqlalchemy.orm import Session

from db.schema import Case, Flag
from db.schema.clock import moment
from db.store.dialect import insert


def open_cases(session: Session, photos: Select[*tuple[Any, ...]]) -> int:
    """Open the missing cases of photos and add their flags; returns how many cases are new.

    ``photos`` selects the columns score_id, image_id, account_id, policy, threshold_id, kind and evidence. Both
    statements read it, so call it under `case_changes.lock_versions`.
    """
    found = photos.subquery()
    accounts = select(found.c.account_id, found.c.policy).distinct().where(found.c.account_id.is_not(None))
    statement = (
        insert(session, Case)
        .from_select(["account_id", "policy"], accounts.order_by(found.c.account_id, found.c.policy))
        .on_conflict_do_update(
            index_elements=["account_id", "policy"],
            index_where=text("state = 'open'"),
            set_={"version": Case.version + 1, "changed_at": moment()},
        )
        .returning(Case.version)
    )
    opened = sum(version == 1 for version in session.scalars(statement))
    columns = ["image_id", "score_id", "threshold_id", "kind", "evidence"]
    flags = select(Case.id, *(found.c[name] for name in columns)).join(
        Case, (Case.account_id == found.c.account_id) & (Case.policy == found.c.policy) & (Case.state == "open")
    )
    session.execute(insert(session, Flag).from_select(["case_id", *columns], flags).on_conflict_do_nothing())
    return opened
