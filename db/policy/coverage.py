"""Which images a threshold flags: the statements by which previews count and changes act."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, case, false, func, or_, select, true
from sqlalchemy.orm import Session
from sqlalchemy.orm.attributes import InstrumentedAttribute

from db.policy.thresholds import in_effect
from db.schema import Case, Flag, Image, Policy, Review, Score, Threshold

DEFAULT = "default"
_HIGHEST = 1.0


@dataclass(frozen=True, slots=True)
class FlaggingRule:
    """A threshold and what it covers: images of ``policy`` flag from ``value`` on, by this version's scores.

    "default" also covers images of every policy but ``others``, which have thresholds of their own. Images of the
    policies ``noting`` are unstable where their stored limits lie on both sides of ``value``.
    """

    version_id: int
    policy: str
    value: float
    others: tuple[str, ...] = ()
    noting: tuple[str, ...] = ()

    def covers(self, policy: InstrumentedAttribute[str] | ScalarSelect[str]) -> ColumnElement[bool]:
        """Whether this rule covers an image's or a case's policy."""
        if self.policy != DEFAULT:
            return policy == self.policy
        return policy.not_in(self.others) if self.others else true()

    def reaches(self) -> ColumnElement[bool]:
        """Whether a score, with its image, is one to see: it reaches the threshold, or its limits do."""
        if not self.noting:
            return Score.score >= self.value
        return or_(Score.score >= self.value, and_(Score.high >= self.value, Image.policy.in_(self.noting)))

    def unstable(self) -> ColumnElement[bool]:
        """Whether a score that `reaches`, with its image, is unstable, and so no flag."""
        return and_(Score.low < self.value, Image.policy.in_(self.noting)) if self.noting else false()


def rules_of(session: Session, version_id: int, values: dict[str, float]) -> list[FlaggingRule]:
    """A version's rules from ``{policy: threshold}``, one a policy; at most one covers an image."""
    others, noting = tuple(sorted(set(values) - {DEFAULT})), noting_policies(session)
    return [FlaggingRule(version_id, policy, value, others, noting) for policy, value in sorted(values.items())]


def noting_policies(session: Session) -> tuple[str, ...]:
    """The policies that note unstable photos, by name: their own choice, or that of the policy "default"."""
    chosen = dict(session.execute(select(Policy.name, Policy.stability)).all())
    return tuple(sorted(name for name, own in chosen.items() if (own or chosen.get(DEFAULT)) == "note"))


def rule_for(session: Session, version_id: int, policy: str, value: float) -> FlaggingRule:
    """One policy's rule, beside the thresholds in effect for the others."""
    values = {row.policy: row.value for row in in_effect(session, version_id)} | {policy: value}
    return next(rule for rule in rules_of(session, version_id, values) if rule.policy == policy)


def effective_rules(session: Session, version_id: int) -> list[tuple[FlaggingRule, int]]:
    """A version's thresholds in effect as rules, each with its threshold's id."""
    rows = {row.policy: row for row in in_effect(session, version_id)}
    rules = rules_of(session, version_id, {policy: row.value for policy, row in rows.items()})
    return [(rule, rows[rule.policy].id) for rule in rules]


def unflagged(rule: FlaggingRule) -> Select[int, str, str | None, str]:
    """(score, image, account, policy) at or above the threshold, or unstable, that are in no case and may join one.

    Left out: images that people decided about, those of a case that somebody has begun to review, and those of erased
    accounts.
    """
    return (
        select(Score.id, Image.id, Image.account_id, Image.policy)
        .join(Image, Image.id == Score.image_id)
        .where(Score.version_id == rule.version_id, rule.reaches())
        .where(rule.covers(Image.policy), *joinable())
    )


def joinable() -> tuple[ColumnElement[bool], ...]:
    """Conditions on `Image`: it is in no case that counts, and may join one. `unflagged` says what is left out."""
    held = select(Flag.id).join(Case).where(Flag.image_id == Image.id, Case.state != "withdrawn")
    in_review = (
        select(Review.id)
        .join(Case)
        .where(Case.account_id == Image.account_id, Case.policy == Image.policy, Case.state == "open")
    )
    return Image.account_id.is_not(None), ~held.exists(), ~in_review.exists()


def score_now(rule: FlaggingRule) -> ScalarSelect[float]:
    """The score that the rule's version gave to a flag's photo; null where it has not scored it.

    A subquery, not a join: PostgreSQL would read all scores to join a few thousand flags, where their index has each.
    """
    statement = select(Score.score).where(Score.image_id == Flag.image_id, Score.version_id == rule.version_id)
    return statement.correlate(Flag).scalar_subquery()


def _reached_now(rule: FlaggingRule) -> ScalarSelect[float]:
    """The same, or the highest that a noting policy's photo scored when it was delivered again."""
    if not rule.noting:
        return score_now(rule)
    highest = case((Case.policy.in_(rule.noting), func.coalesce(Score.high, Score.score)), else_=Score.score)
    statement = select(highest).where(Score.image_id == Flag.image_id, Score.version_id == rule.version_id)
    return statement.correlate(Flag, Case).scalar_subquery()


def no_longer_flagged(rule: FlaggingRule) -> Select[int]:
    """Open cases that nobody has reviewed, and of which every flagged photo now scores below the threshold.

    A photo without a score of the rule's version is not below it: its case stays. So does the case of a photo whose
    file says that it is AI-generated, where that flagged it: no threshold takes it back. And so does that of a photo
    that is unstable now: a person is to see it.
    """
    reviewed = select(Review.id).where(Review.case_id == Case.id)
    stays = select(Flag.id).where(
        Flag.case_id == Case.id,
        or_(Flag.evidence.is_not(None), func.coalesce(_reached_now(rule), _HIGHEST) >= rule.value),
    )
    joins = unflagged(rule).where(Image.account_id == Case.account_id, Image.policy == Case.policy)
    return select(Case.id).where(
        Case.state == "open",
        rule.covers(Case.policy),
        select(Flag.id).where(Flag.case_id == Case.id).exists(),
        ~reviewed.exists(),
        ~stays.correlate(Case).exists(),
        ~joins.correlate(Case).exists(),
    )


def unscored_cases(rule: FlaggingRule) -> ScalarSelect[int]:
    """How many open cases hold photos that the rule's version has not scored: a rescore would tell.

    A version has scored whatever its own thresholds flagged, which is most: only the rest is looked up.
    """
    foreign = Flag.threshold_id.in_(select(Threshold.id).where(Threshold.version_id != rule.version_id))
    # CASE rather than AND: PostgreSQL would look up every score first.
    missing = select(Flag.id).where(Flag.case_id == Case.id, case((foreign, score_now(rule).is_(None)), else_=false()))
    statement = select(func.count(Case.id)).where(Case.state == "open", rule.covers(Case.policy))
    return statement.where(missing.correlate(Case).exists()).scalar_subquery()
