"""Whether a threshold's certificate still holds: blind verdicts on its flags, and drift, may contradict it.

A certificate speaks of the population of its reference set. Blind verdicts test the same claim on the photos that come
in (`db.stats.e_process`); drift says that these are others than before. What was found once is kept: a certificate
that has expired stays so.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import thresholds
from db.policy.threshold_choice import rate_bound
from db.quality.drift import DailyDrift, drift_yesterday
from db.review.effective_reviews import is_standing
from db.schema import Draw, Expiry, Sample, Threshold, Verdict
from db.stats.e_process import JudgedStratum, JudgedWindow, log_e_value
from db.store.session import Database

#: A larger e-value is shown as this.
_MOST_E_VALUE = 1e12
_FLAGGED = "flagged"


@dataclass(frozen=True, slots=True)
class CertificateState:
    """A certified threshold in effect, as photos of a policy bear it out.

    ``judged`` of the sampled photos have a verdict, ``flagged_judged`` of those were flagged, and ``flagged_reals`` of
    these are real. The claim is rejected when ``e_value`` reaches ``limit``. ``expired`` says on which evidence.
    """

    threshold: Threshold
    policy: str
    judged: int
    flagged_judged: int
    flagged_reals: int
    e_value: float
    limit: float
    expired: tuple[Expiry, ...]

    @property
    def contradicted(self) -> bool:
        """Whether the verdicts reject the claim now."""
        return self.e_value >= self.limit

    @property
    def words(self) -> str:
        """The state, as a sentence for people."""
        if self.expired:
            return "; ".join(expiry_words(row) for row in self.expired)
        if self.judged == 0:
            return "valid, and not yet tested: no sampled photo has a blind verdict (unmask review draw)"
        return f"valid after {self.judged:,} blind verdicts (e-value {self.e_value:.3g}, limit {self.limit:.3g})"


def expiry_words(row: Expiry) -> str:
    """That a certificate has expired, and on which evidence, as a sentence for people."""
    return f"this threshold's certificate has expired on {row.created_at:%F}: {row.detail}"


def certificate_states(session: Session) -> list[CertificateState]:
    """The certified thresholds of the active model, by policy; a policy without its own is judged by "default"'s."""
    version = versions.find_active(session)
    if version is None:
        return []
    rows = [row for row in thresholds.in_effect(session, version.id) if rate_bound(row).certified]
    return [state for row in rows for state in _states(session, row)]


def expiries(session: Session, threshold_ids: Sequence[int]) -> list[Expiry]:
    """On which evidence these thresholds' certificates have expired, the oldest first."""
    return list(session.scalars(select(Expiry).where(Expiry.threshold_id.in_(threshold_ids)).order_by(Expiry.id)))


def expire_certificates(database: Database) -> list[Expiry]:
    """Record which certificates the verdicts or yesterday's drift contradict now; returns what is new.

    Call it as often as you like: the test holds whenever one looks. It reads much and writes little, in a transaction
    of its own: on SQLite workers could not write meanwhile.
    """
    with database.reading() as session:
        states = certificate_states(session)
        found = [_by_verdicts(state) for state in states if state.contradicted]
        if states:
            found += _by_drift(states, drift_yesterday(session))
    if not found:
        return []
    with database.writing() as session:
        known = {_key(row) for row in expiries(session, [row.threshold_id for row in found])}
        new = [row for row in found if _key(row) not in known]
        session.add_all(new)
        session.flush()
        session.expunge_all()
    return new


def _key(row: Expiry) -> tuple[int, str, str]:
    return row.threshold_id, row.policy, row.evidence


def _states(session: Session, row: Threshold) -> list[CertificateState]:
    windows = _windows(session, row)
    known = defaultdict(list)
    for expiry in expiries(session, [row.id]):
        known[expiry.policy].append(expiry)
    return [
        _state(row, policy, windows.get(policy, []), known[policy]) for policy in sorted({row.policy, *windows, *known})
    ]


def _state(row: Threshold, policy: str, windows: Sequence[JudgedWindow], expired: Iterable[Expiry]) -> CertificateState:
    flagged = [window.flagged for window in windows]
    others = [stratum for window in windows for stratum in window.unflagged]
    log_e = log_e_value(windows, row.target_fpr or 1.0)
    return CertificateState(
        threshold=row,
        policy=policy,
        judged=sum(stratum.judged for stratum in (*flagged, *others)),
        flagged_judged=sum(stratum.judged for stratum in flagged),
        flagged_reals=sum(stratum.reals for stratum in flagged),
        e_value=min(_MOST_E_VALUE, math.exp(min(log_e, math.log(_MOST_E_VALUE)))),
        limit=1 / (1 - (row.confidence or 0.0)),
        expired=tuple(expired),
    )


def _windows(session: Session, row: Threshold) -> Mapping[str, list[JudgedWindow]]:
    """What was sampled and judged at this threshold, by policy, in the order of the draws.

    Also under earlier rows that say the same: to set a threshold again does not make its evidence go away.
    """
    same = select(Threshold.id).where(
        Threshold.version_id == row.version_id,
        Threshold.policy == row.policy,
        Threshold.value == row.value,
        Threshold.target_fpr == row.target_fpr,
        Threshold.reference == row.reference,
    )
    sure = (Verdict.sample_id == Sample.id) & (Verdict.verdict != "unsure") & is_standing()
    reals = func.count(Verdict.id).filter(Verdict.verdict == "real")
    statement = (
        select(Draw, func.count(Verdict.id), reals)
        .outerjoin(Sample, Sample.draw_id == Draw.id)
        .outerjoin(Verdict, sure)
        .where(Draw.threshold_id.in_(same))
        .group_by(Draw.id)
        .order_by(Draw.id)
    )
    strata: dict[tuple[str, object], dict[str, JudgedStratum]] = {}
    for draw, judged, real in session.execute(statement):
        window = strata.setdefault((draw.policy, draw.since), {})
        window[draw.stratum] = JudgedStratum(draw.population, draw.drawn, judged, real)
    found = defaultdict(list)
    for (policy, _), window in strata.items():
        others = tuple(stratum for name, stratum in window.items() if name != _FLAGGED)
        found[policy].append(JudgedWindow(window[_FLAGGED], others))
    return found


def _by_verdicts(state: CertificateState) -> Expiry:
    detail = (
        f"{state.flagged_reals:,} of {state.flagged_judged:,} flagged photos that were judged blind are real, too many "
        f"for an FPR of {100 * (state.threshold.target_fpr or 0):.3g} % (e-value {state.e_value:.3g}, "
        f"limit {state.limit:.3g})"
    )
    return Expiry(threshold_id=state.threshold.id, policy=state.policy, evidence="verdicts", detail=detail)


def _by_drift(states: Sequence[CertificateState], lines: Sequence[DailyDrift]) -> list[Expiry]:
    """For policies whose scores moved; drift counts photos under the policy whose threshold flags them."""
    moved = {line.policy: line for line in lines if line.distance.level == "alarm"}
    rows = {state.threshold.policy: state.threshold for state in states}
    return [
        Expiry(
            threshold_id=row.id,
            policy=policy,
            evidence="drift",
            detail=f"the scores of {line.day} are distributed otherwise than in the model's first week "
            f"(PSI {line.distance.psi:.2f}, alarm from 0.25): the population is another one",
        )
        for policy, line in moved.items()
        if (row := rows.get(policy)) is not None
    ]
