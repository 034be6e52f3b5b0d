"""Which accounts a threshold flags: the statements that previews count with, and that changes act by."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, Select, case, false, func, select, true
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from db.policy import thresholds
from db.schema import Case, Flag, Image, Review, Score, Threshold

DEFAULT = "default"
_HIGHEST = 1.0


@dataclass(frozen=True, slots=True)
class Rule:
    """A threshold as it would stand: images of ``policy`` flag from ``value`` on, by this version's scores.

    "default" also covers images of every policy but ``others``, which have thresholds of their own.
    """

    version_id: int
    policy: str
    value: float
    others: tuple[str, ...] = ()

    def covers(self, policy: InstrumentedAttribute[str] | ScalarSelect[str]) -> ColumnElement[bool]:
        """Whether an image's or a case's policy flags by this rule."""
        if self.policy != DEFAULT:
            return policy == self.policy
        return policy.not_in(self.others) if self.others else true()


def rules(version_id: int, values: dict[str, float]) -> list[Rule]:
    """A version's rules, one a policy; each image is covered by one at most."""
    others = tuple(sorted(set(values) - {DEFAULT}))
    return [Rule(version_id, policy, value, others) for policy, value in sorted(values.items())]


def rule_for(session: Session, version_id: int, policy: str, value: float) -> Rule:
    """One policy's rule, beside the thresholds that stand for the others."""
    values = {name: row.value for name, row in thresholds.standing(session, version_id).items()} | {policy: value}
    return next(rule for rule in rules(version_id, values) if rule.policy == policy)


def unflagged(rule: Rule) -> Select[int, str, str | None, str]:
    """(score, image, account, policy) at or above the threshold that no case holds, and that may join one.

    Not those that people decided about, nor those of a case that somebody has begun to review, nor of erased accounts.
    """
    held = select(Flag.id).join(Case).where(Flag.image_id == Image.id, Case.state != "withdrawn")
    in_review = (
        select(Review.id)
        .join(Case)
        .where(Case.account_id == Image.account_id, Case.policy == Image.policy, Case.state == "open")
    )
    return (
        select(Score.id, Image.id, Image.account_id, Image.policy)
        .join(Image, Image.id == Score.image_id)
        .where(Score.version_id == rule.version_id, Score.score >= rule.value)
        .where(Image.account_id.is_not(None), rule.covers(Image.policy), ~held.exists(), ~in_review.exists())
    )


def score_now(rule: Rule) -> ScalarSelect[float]:
    """What the rule's version says of a flag's photo; null where it has not scored it.

    A subquery and no join: PostgreSQL would read all scores to join a few thousand flags, where their index has each.
    """
    statement = select(Score.score).where(Score.image_id == Flag.image_id, Score.version_id == rule.version_id)
    return statement.correlate(Flag).scalar_subquery()


def no_longer(rule: Rule) -> Select[int]:
    """Open cases that nobody has reviewed, and of which every flagged photo now scores below the threshold.

    A photo without a score of the rule's version is not below it: its case stays.
    """
    reviewed = select(Review.id).where(Review.case_id == Case.id)
    stays = select(Flag.id).where(Flag.case_id == Case.id, func.coalesce(score_now(rule), _HIGHEST) >= rule.value)
    joins = unflagged(rule).where(Image.account_id == Case.account_id, Image.policy == Case.policy)
    return select(Case.id).where(
        Case.state == "open",
        rule.covers(Case.policy),
        select(Flag.id).where(Flag.case_id == Case.id).exists(),
        ~reviewed.exists(),
        ~stays.correlate(Case).exists(),
        ~joins.correlate(Case).exists(),
    )


def unscored_cases(rule: Rule) -> ScalarSelect[int]:
    """How many open cases hold photos that the rule's version has not scored: a rescore would tell.

    What a threshold of its own has flagged it has scored, and that is most: only the rest is looked up.
    """
    foreign = Flag.threshold_id.in_(select(Threshold.id).where(Threshold.version_id != rule.version_id))
    # CASE, and not AND: PostgreSQL would look every score up first.
    missing = select(Flag.id).where(Flag.case_id == Case.id, case((foreign, score_now(rule).is_(None)), else_=false()))
    statement = select(func.count(Case.id)).where(Case.state == "open", rule.covers(Case.policy))
    return statement.where(missing.correlate(Case).exists()).scalar_subquery()
