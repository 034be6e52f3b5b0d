"""What thresholds do to cases: shown before, held to a budget, and then done in one transaction.

A change locks the model versions. A worker that records scores holds its version's row by their foreign key until its
commit: so a score is either seen by the change, or is recorded after it and flagged by the new thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, literal, select, text, update
from sqlalchemy.orm import Session

from db.work import requests
from db.schema.clock import moment
from db.errors import ConflictError
from db.store.insert import insert
from db.policy.rules import Rule, no_longer, score_now, unflagged, unscored_cases
from db.schema import Case, Flag, Image, ModelVersion, Score


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account whose case would open or be withdrawn (then ``case_id`` says which)."""

    account_id: str | None
    policy: str
    photos: int
    highest: float
    case_id: int | None = None


@dataclass(frozen=True, slots=True)
class Preview:
    """What a change would do: whose cases open and close; ``added`` photos join cases that are open anyway.

    ``unscored`` open cases stay as they are, since the model has not scored all of their photos.
    """

    opens: list[AccountLine]
    closes: list[AccountLine]
    added: int
    unscored: int

    @property
    def cases(self) -> int:
        """How many cases would open or close: what the budget counts."""
        return len(self.opens) + len(self.closes)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many cases may open or close without being asked for, and the number that was asked for."""

    cases: int
    confirmed: int | None = None

    def check(self, preview: Preview) -> None:
        """Raises `ConflictError` for a flood that nobody confirmed."""
        if preview.cases > self.cases and preview.cases != self.confirmed:
            given = f", not --confirm {self.confirmed}" if self.confirmed is not None else ""
            raise ConflictError(
                f"it would open {len(preview.opens)} cases and withdraw {len(preview.closes)}, over the budget of "
                f"{self.cases}: repeat the number with --confirm {preview.cases}{given}"
            )


@dataclass(frozen=True, slots=True)
class Done:
    """How many cases a change opened and withdrew."""

    opened: int
    withdrawn: int


def lock(session: Session) -> None:
    """Nobody else changes thresholds or versions, and no worker records, until this transaction ends."""
    session.execute(select(ModelVersion.id).order_by(ModelVersion.id).with_for_update()).all()


def wait(session: Session) -> None:
    """Until no change is under way: what follows sees the cases that it opened."""
    session.execute(select(ModelVersion.id).order_by(ModelVersion.id).with_for_update(read=True, key_share=True)).all()


def preview(session: Session, rules: Sequence[Rule]) -> Preview:
    """What these rules, one a policy, would do to cases now."""
    _expect_quick_reads(session)
    opens, added = [], 0
    for rule in rules:
        for line, is_open in _flagged_accounts(session, rule):
            if is_open:
                added += line.photos
            else:
                opens.append(line)
    closes = [line for rule in rules for line in _withdrawn_accounts(session, rule)]
    return Preview(opens, closes, added, sum(session.scalar(select(unscored_cases(rule))) or 0 for rule in rules))


def _expect_quick_reads(session: Session) -> None:
    """In this transaction: PostgreSQL takes disks to turn, and would rather read all images than find some by index."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL random_page_cost = 1.1"))


def carry_out(session: Session, rules: Sequence[tuple[Rule, int]], reason: str) -> Done:
    """Open and withdraw cases as these rules say, each with the id of its threshold; call `lock` before."""
    opened = sum(_open(session, rule, threshold_id) for rule, threshold_id in rules)
    withdrawn = sum(_withdraw(session, rule, f"{reason} (threshold {rule.value:.4g})") for rule, _ in rules)
    return Done(opened, withdrawn)


def _flagged_accounts(session: Session, rule: Rule) -> list[tuple[AccountLine, bool]]:
    """Accounts with photos to flag, the highest first; whether their case is open already."""
    found = unflagged(rule).add_columns(Score.score).subquery()
    open_case = select(Case.id).where(
        Case.account_id == found.c.account_id, Case.policy == found.c.policy, Case.state == "open"
    )
    statement = (
        select(found.c.account_id, found.c.policy, func.count(), func.max(found.c.score), open_case.scalar_subquery())
        .group_by(found.c.account_id, found.c.policy)
        .order_by(func.max(found.c.score).desc(), found.c.account_id)
    )
    return [(AccountLine(*row[:4]), row[4] is not None) for row in session.execute(statement)]


def _withdrawn_accounts(session: Session, rule: Rule) -> list[AccountLine]:
    """Accounts whose case would be withdrawn, with what their photos score now."""
    statement = (
        select(Case.account_id, Case.policy, func.count(), func.max(score_now(rule)), Case.id)
        .join(Flag, Flag.case_id == Case.id)
        .where(Case.id.in_(no_longer(rule)))
        .group_by(Case.id)
        .order_by(Case.id)
    )
    return [AccountLine(*row) for row in session.execute(statement)]


def _open(session: Session, rule: Rule, threshold_id: int) -> int:
    """Open what is missing and add the photos; returns how many cases are new."""
    accounts = unflagged(rule).with_only_columns(Image.account_id, Image.policy).distinct()
    statement = (
        insert(session, Case)
        .from_select(["account_id", "policy"], accounts.order_by(Image.account_id, Image.policy))
        .on_conflict_do_update(
            index_elements=["account_id", "policy"],
            index_where=text("state = 'open'"),
            set_={"version": Case.version + 1, "changed_at": moment()},
        )
        .returning(Case.version)
    )
    opened = sum(version == 1 for version in session.scalars(statement))
    photos = unflagged(rule).with_only_columns(Case.id, Image.id, Score.id, literal(threshold_id))
    photos = photos.join(
        Case, (Case.account_id == Image.account_id) & (Case.policy == Image.policy) & (Case.state == "open")
    )
    columns = ["case_id", "image_id", "score_id", "threshold_id"]
    session.execute(insert(session, Flag).from_select(columns, photos).on_conflict_do_nothing())
    requests.ask_looks(session, Flag.threshold_id == threshold_id)
    return opened


def _withdraw(session: Session, rule: Rule, reason: str) -> int:
    """Withdraw what no longer flags; returns how many."""
    # A reviewer who is deciding holds the case: wait first, and then ask again whether it is still nobody's.
    session.execute(no_longer(rule).order_by(Case.id).with_for_update()).all()
    statement = (
        update(Case)
        .where(Case.id.in_(no_longer(rule)))
        .values(state="withdrawn", reason=reason, version=Case.version + 1, changed_at=moment())
        .returning(Case.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(statement).all())
