"""What a change of thresholds does to cases: previewed, held to a budget, and done in one transaction.

A change locks the model versions. A worker that records scores locks its version's row by their foreign key until its
commit: so a change either sees a score, or the score is recorded after it and flagged by the new thresholds.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, Text, case, cast, func, literal, null, select, text, update
from sqlalchemy.orm import Session

from db.errors import ConflictError, DbError
from db.models import versions
from db.policy import coverage, pauses, policies, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.coverage import FlaggingRule, effective_rules, rule_for, unflagged
from db.policy.threshold_choice import ThresholdChoice
from db.review import bulk_flags
from db.review.cases import UNSTABLE
from db.schema import Case, Flag, Image, ModelVersion, Score, Threshold
from db.schema.clock import moment
from db.settings import MAX_FPR, PolicySettings
from db.work import on_demand


@dataclass(frozen=True, slots=True)
class AccountLine:
    """An account whose case would open, or be withdrawn (then ``case_id`` says which)."""

    account_id: str | None
    policy: str
    photos: int
    highest: float
    case_id: int | None = None


@dataclass(frozen=True, slots=True)
class ChangeEffect:
    """Whose cases a change would open and withdraw; ``added`` photos join cases that are open already.

    ``unscored`` open cases stay as they are, since the model has not scored all of their photos. ``unstable`` of the
    photos that open or join cases are no flags: see `db.stats.stability`.
    """

    opens: list[AccountLine]
    closes: list[AccountLine]
    added: int
    unscored: int
    unstable: int = 0

    @property
    def cases(self) -> int:
        """How many cases would open or be withdrawn: what the budget counts."""
        return len(self.opens) + len(self.closes)


@dataclass(frozen=True, slots=True)
class Budget:
    """How many cases a change may open or withdraw, and the largest share of real photos that it may flag.

    ``confirmed``: how many cases a person accepts beyond that, at most; on a live system the number moves.
    ``accepted_fpr``: a rate that a person accepts this once, in place of the policy's own and of ``max_fpr``.
    """

    cases: int
    confirmed: int | None = None
    max_fpr: float = MAX_FPR
    accepted_fpr: float | None = None

    @classmethod
    def configured(cls, confirmed: int | None = None, max_fpr: float | None = None) -> "Budget":
        """The budget of the settings; ``max_fpr`` is accepted once. Raises `SettingsError` for a bad setting."""
        settings = PolicySettings.load()
        return cls(settings.flood_budget, confirmed, settings.max_fpr, max_fpr)

    def check(self, effect: ChangeEffect) -> None:
        """Raises `ConflictError` for a flood that nobody confirmed."""
        if effect.cases > max(self.cases, self.confirmed or 0):
            given = f", more than --confirm {self.confirmed} accepts" if self.confirmed is not None else ""
            raise ConflictError(
                f"it would open {len(effect.opens)} cases and withdraw {len(effect.closes)}, over the budget of "
                f"{self.cases}{given}: accept at most so many with --confirm {effect.cases}"
            )

    def check_rate(self, session: Session, policy: str, choice: ThresholdChoice) -> None:
        """Raises `ConflictError` for a threshold with a higher FPR than its policy, or the settings, allow."""
        most = self.accepted_fpr or policies.max_fpr(session, policy) or self.max_fpr
        measured, rate = choice.measured, choice.rate
        if measured is None or rate is None or rate <= most:
            return
        fpr = f"{measured.fpr.value:.3%} ({measured.fpr.low:.3%} to {measured.fpr.high:.3%})"
        certified = f" (certified: at most {rate:.3%})" if choice.bound.certified else ""
        raise ConflictError(
            f"policy {policy!r}: threshold {choice.value:.4g} has an FPR of {fpr} on the {measured.reals} real photos "
            f"of {measured.reference!r}{certified}, over the maximum of {most:.3g}: choose a higher threshold, or "
            f"accept this rate once with --max-fpr and a --reason"
        )


@dataclass(frozen=True, slots=True)
class CaseCounts:
    """How many cases a change opened and withdrew."""

    opened: int
    withdrawn: int


def set_threshold(
    session: Session, version_id: int, policy: str, choice: ThresholdChoice, by: ChangeAuthor, budget: Budget
) -> Threshold:
    """Set a policy's threshold for a version, and open and withdraw the cases that this means.

    Reviewed cases never change. While flagging is paused no case changes: `apply_thresholds` does it after the pause.
    Raises `ConflictError` for a rate over the maximum, for a flood that nobody confirmed, and when the version is no
    longer active.
    """
    budget.check_rate(session, policy, choice)
    if choice.forced:
        by.explained(f"an FPR of {choice.target_fpr:g} on {choice.measured.reals if choice.measured else 0} reals")
    _check(session, [rule_for(session, version_id, policy, choice.value)], budget)
    _lock_active(session, version_id)
    rule = rule_for(session, version_id, policy, choice.value)  # other policies may have changed meanwhile
    effect = _check(session, [rule], budget)
    opens, closes = len(effect.opens), len(effect.closes)
    row = thresholds.append_threshold(session, version_id, policy, choice, by, opens, closes)
    change_cases(session, [(rule, row.id)], by)
    return row


def roll_back_threshold(session: Session, version_id: int, policy: str, by: ChangeAuthor, budget: Budget) -> Threshold:
    """Go one step back through the history, by a new row; raises as `set_threshold`, or `NotFoundError`."""
    before = thresholds.previous_threshold(session, version_id, policy)
    again = ChangeAuthor(by.author, by.reason or f"back to threshold {before.id}")
    return set_threshold(session, version_id, policy, ThresholdChoice.of(before), again, budget)


def apply_thresholds(session: Session, version_id: int, by: ChangeAuthor, budget: Budget) -> CaseCounts:
    """Open and withdraw cases by the thresholds in effect: after a pause of flagging, or after a rescore.

    Raises `DbError` while flagging is paused, and otherwise as `set_threshold` does.
    """
    if _is_paused(session):
        raise DbError("flagging is paused: run `unmask resume flagging` first")
    _check(session, [rule for rule, _ in effective_rules(session, version_id)], budget)
    _lock_active(session, version_id)
    rules = effective_rules(session, version_id)
    _check(session, [rule for rule, _ in rules], budget)
    return change_cases(session, rules, by)


def preview_changes(session: Session, rules: Sequence[FlaggingRule]) -> ChangeEffect:
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
    unscored = sum(session.scalar(select(coverage.unscored_cases(rule))) or 0 for rule in rules)
    return ChangeEffect(opens, closes, added, unscored, sum(_count_unstable(session, rule) for rule in rules))


def preview_unless_paused(session: Session, rules: Sequence[FlaggingRule]) -> ChangeEffect:
    """The same, or nothing while flagging is paused: then a change touches no case."""
    return ChangeEffect([], [], 0, 0) if _is_paused(session) else preview_changes(session, rules)


def change_cases(session: Session, rules: Sequence[tuple[FlaggingRule, int]], by: ChangeAuthor) -> CaseCounts:
    """Open and withdraw cases by these rules, each with its threshold's id; call `lock_versions` before.

    While flagging is paused it changes nothing.
    """
    if _is_paused(session):
        return CaseCounts(0, 0)
    reason = f"{by.author}: {by.reason or 'no reason given'}"
    opened = sum(_open(session, rule, threshold_id) for rule, threshold_id in rules)
    withdrawn = sum(_withdraw(session, rule, f"{reason} (threshold {rule.value:.4g})") for rule, _ in rules)
    return CaseCounts(opened, withdrawn)


def lock_versions(session: Session) -> None:
    """Until this transaction ends, nobody else changes thresholds or versions, and no worker records a score."""
    session.execute(select(ModelVersion.id).order_by(ModelVersion.id).with_for_update()).all()


def wait_for_changes(session: Session) -> None:
    """Wait until no change is under way: what follows sees the cases that it opened."""
    session.execute(select(ModelVersion.id).order_by(ModelVersion.id).with_for_update(read=True, key_share=True)).all()


def _is_paused(session: Session) -> bool:
    return "flagging" in pauses.current_pauses(session)


def _check(session: Session, rules: Sequence[FlaggingRule], budget: Budget) -> ChangeEffect:
    effect = preview_unless_paused(session, rules)
    budget.check(effect)
    return effect


def _lock_active(session: Session, version_id: int) -> None:
    """Lock; the caller then repeats the checks that it made before, without keeping workers waiting."""
    lock_versions(session)
    if versions.active(session).id != version_id:
        raise ConflictError("another model version was promoted meanwhile: preview the threshold again")


def _expect_quick_reads(session: Session) -> None:
    """PostgreSQL's default assumes spinning disks (random_page_cost = 4), and reads all images rather than an index."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SET LOCAL random_page_cost = 1.1"))


def _flagged_accounts(session: Session, rule: FlaggingRule) -> list[tuple[AccountLine, bool]]:
    """Accounts with photos to flag, the highest score first; whether their case is open already."""
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


def _count_unstable(session: Session, rule: FlaggingRule) -> int:
    if not rule.noting:
        return 0
    found = unflagged(rule).where(rule.unstable()).subquery()
    return session.scalar(select(func.count()).select_from(found)) or 0


def _withdrawn_accounts(session: Session, rule: FlaggingRule) -> list[AccountLine]:
    """Accounts whose case would be withdrawn, with what their photos score now."""
    statement = (
        select(Case.account_id, Case.policy, func.count(), func.max(coverage.score_now(rule)), Case.id)
        .join(Flag, Flag.case_id == Case.id)
        .where(Case.id.in_(coverage.no_longer_flagged(rule)))
        .group_by(Case.id)
        .order_by(Case.id)
    )
    return [AccountLine(*row) for row in session.execute(statement)]


def _open(session: Session, rule: FlaggingRule, threshold_id: int) -> int:
    """Open the missing cases and add the photos; returns how many cases are new."""
    photos: Select[*tuple[Any, ...]] = unflagged(rule).with_only_columns(
        *(Score.id.label("score_id"), Image.id.label("image_id"), Image.account_id, Image.policy),
        *(
            literal(threshold_id).label("threshold_id"),
            _kind(rule).label("kind"),
            cast(null(), Text).label("evidence"),
        ),
    )
    opened = bulk_flags.open_cases(session, photos)
    on_demand.request_hashes(session, Flag.threshold_id == threshold_id)
    return opened


def _kind(rule: FlaggingRule) -> ColumnElement[str]:
    """What a photo is in its case for."""
    return case((rule.unstable(), literal(UNSTABLE)), else_=literal("score")) if rule.noting else literal("score")


def _withdraw(session: Session, rule: FlaggingRule, reason: str) -> int:
    """Withdraw cases that are no longer flagged; returns how many."""
    # A reviewer who is deciding locks the case: wait first, then ask again whether it is still unreviewed.
    session.execute(coverage.no_longer_flagged(rule).order_by(Case.id).with_for_update()).all()
    statement = (
        update(Case)
        .where(Case.id.in_(coverage.no_longer_flagged(rule)))
        .values(state="withdrawn", reason=reason, version=Case.version + 1, changed_at=moment())
        .returning(Case.id)
        .execution_options(synchronize_session=False)
    )
    return len(session.scalars(statement).all())
