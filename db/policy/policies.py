"""What policy people do to thresholds: set one, go back to the last, apply what stands. Each is one transaction."""

from collections.abc import Sequence

from sqlalchemy.orm import Session

from db.models import versions
from db.policy import changes, pauses, thresholds
from db.policy.changes import Budget, Done, Preview
from db.errors import ConflictError, DbError
from db.policy.rules import Rule, rule_for, rules
from db.schema import Threshold
from db.policy.signature import Signature
from db.policy.thresholds import Choice


def set_threshold(
    session: Session, version_id: int, policy: str, choice: Choice, by: Signature, budget: Budget
) -> Threshold:
    """Set a policy's threshold for a version, and open and withdraw the cases that this means.

    Reviewed cases are never touched. While flagging is paused no case changes: `apply` does it when it is resumed.
    Raises `ConflictError` for a flood that nobody confirmed, and when the version is not the active one any more.
    """
    if choice.forced:
        by.explained(f"an FPR of {choice.target_fpr:g} on {choice.measured.reals if choice.measured else 0} reals")
    check(session, [rule_for(session, version_id, policy, choice.value)], budget)
    _lock(session, version_id)
    rule = rule_for(session, version_id, policy, choice.value)  # another may have changed other policies meanwhile
    shown = check(session, [rule], budget)
    row = thresholds.append(session, version_id, policy, choice, by, len(shown.opens), len(shown.closes))
    carry_out(session, [(rule, row.id)], by)
    return row


def roll_back(session: Session, version_id: int, policy: str, by: Signature, budget: Budget) -> Threshold:
    """Set the threshold that stood before, as a new row of the history."""
    before = thresholds.before_last(session, version_id, policy)
    again = Signature(by.author, by.reason or f"back to threshold {before.id}")
    return set_threshold(session, version_id, policy, thresholds.as_chosen(before), again, budget)


def standing_rules(session: Session, version_id: int) -> list[tuple[Rule, int]]:
    """The thresholds that stand for a version as rules, with their ids."""
    standing = thresholds.standing(session, version_id)
    values = {policy: row.value for policy, row in standing.items()}
    return [(rule, standing[rule.policy].id) for rule in rules(version_id, values)]


def apply(session: Session, version_id: int, by: Signature, budget: Budget) -> Done:
    """Open and withdraw cases as the thresholds that stand say: after a pause of flagging, or after a rescore.

    Raises `DbError` while flagging is paused, and otherwise as `set_threshold` does.
    """
    if "flagging" in pauses.standing(session):
        raise DbError("flagging is paused: unmask resume flagging")
    check(session, [rule for rule, _ in standing_rules(session, version_id)], budget)
    _lock(session, version_id)
    found = standing_rules(session, version_id)
    check(session, [rule for rule, _ in found], budget)
    return carry_out(session, found, by)


def check(session: Session, found: Sequence[Rule], budget: Budget) -> Preview:
    """What the rules would do; raises `ConflictError` when it is a flood that nobody confirmed."""
    if "flagging" in pauses.standing(session):
        return Preview([], [], 0, 0)
    preview = changes.preview(session, found)
    budget.check(preview)
    return preview


def _lock(session: Session, version_id: int) -> None:
    """From here on nobody else changes anything; what was checked before, without keeping workers waiting, is again."""
    changes.lock(session)
    if versions.active(session).id != version_id:
        raise ConflictError("another model version was promoted meanwhile: look again")


def carry_out(session: Session, found: Sequence[tuple[Rule, int]], by: Signature) -> Done:
    """Do what rules say, each with its threshold's id, in the name of whoever changed them; nothing in a pause."""
    if "flagging" in pauses.standing(session):
        return Done(0, 0)
    return changes.carry_out(session, found, f"{by.author}: {by.reason or 'no reason given'}")
