"""Policies by name. Each photo has one; the database refuses photos and thresholds of unknown policies.

Rows are never deleted, since images, thresholds and cases refer to the name.
"""

from sqlalchemy import select
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError, NotFoundError
from db.models import versions
from db.policy.attribution import ChangeAuthor
from db.schema import ModelVersion, Policy
from db.store.ids import check_new_id, look_alike

#: The largest weight that the database allows.
MAX_WEIGHT = 1000


def add_policy(session: Session, name: str, by: ChangeAuthor, weight: int = 1) -> Policy:
    """Add a policy; raises `ConflictError` when it exists, `IdError` for an invalid name, `DbError` for the weight."""
    if not 1 <= weight <= MAX_WEIGHT:
        raise DbError(f"weight must be 1 to {MAX_WEIGHT}: {weight}")
    other = look_alike(check_new_id("policy", name), session.scalars(select(Policy.name)))
    if other is not None:
        looks = "exists already" if other == name else f"looks like {other!r}, which exists already"
        raise ConflictError(f"policy {name!r} {looks}: choose another name")
    row = Policy(name=name, weight=weight, created_by=by.author, reason=by.reason)
    session.add(row)
    session.flush()
    return row


def list_policies(session: Session) -> list[Policy]:
    """Every policy, by name."""
    return list(session.scalars(select(Policy).order_by(Policy.name)))


def set_max_fpr(session: Session, name: str, max_fpr: float | None) -> Policy:
    """The highest FPR that the policy's thresholds may have; None: that of the settings.

    Thresholds in effect stay. Raises `NotFoundError` for an unknown policy, and `DbError` for what is no rate.
    """
    if max_fpr is not None and not 0 < max_fpr <= 1:
        raise DbError(f"an FPR of {max_fpr:g} is not above 0 and at most 1")
    row = find_policy(session, name)
    row.max_fpr = max_fpr
    session.flush()
    return row


def max_fpr(session: Session, name: str) -> float | None:
    """The highest FPR that the policy's own thresholds may have; None where the policy sets none."""
    return session.scalar(select(Policy.max_fpr).where(Policy.name == name))


def find_policy(session: Session, name: str) -> Policy:
    """A policy by its name; raises `NotFoundError`, which says how to add one."""
    row = session.get(Policy, name)
    if row is None:
        raise NotFoundError(f"policy {name!r} is unknown: add it with `unmask policy add`")
    return row


def require_policy(session: Session, name: str) -> str:
    """Return the name of an existing policy; raises as `find_policy` does."""
    return find_policy(session, name).name


def set_keys(session: Session, name: str, keys: str) -> Policy:
    """Let a policy flag a photo when one signal says so, or only when two agree.

    Raises `NotFoundError` for an unknown policy, and `ConflictError` when the active version has one key.
    """
    row = session.get_one(Policy, require_policy(session, name))
    row.keys = keys
    session.flush()
    active = versions.find_active(session)
    if active is not None:
        check_keys(session, active)
    return row


def set_stability(session: Session, name: str, choice: str) -> Policy:
    """Let a policy note unstable photos, or judge by the score alone; cases stay as they are.

    Call `db.policy.case_changes.lock_versions` before, so that each score is recorded by the one rule or the other.
    Raises `NotFoundError` for an unknown policy.
    """
    row = find_policy(session, name)
    row.stability = choice
    session.flush()
    return row


def check_keys(session: Session, version: ModelVersion) -> None:
    """Raise `ConflictError` when a policy needs two keys and this version has one."""
    if versions.has_two_keys(version):
        return
    names = session.scalars(select(Policy.name).where(Policy.keys == "two").order_by(Policy.name)).all()
    if names:
        raise ConflictError(
            f"model {version.name} has one key, and {', '.join(map(repr, names))} flags only what two find suspicious: "
            "make a model of two with `unmask fuse`, or run `unmask policy set NAME --keys one`"
        )
