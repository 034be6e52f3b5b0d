"""Recording scores and the flags that they raise, together in the caller's transaction, once each.

The active version is read in that transaction, after the scores are inserted: `db.policy.case_changes` says why a
change then misses no score.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from sqlalchemy import ColumnClause, Integer, String, column, update
from sqlalchemy.orm import Session

from db.file_signals import FileSignal
from db.models import key_scores, projections
from db.models.projections import KeptProjection
from db.policy import signal_actions
from db.policy.coverage import noting_policies
from db.policy.effective_policy import EffectivePolicy, effective_policy
from db.review import lookalikes
from db.review.cases import NewFlag, raise_flags
from db.schema import Flag, Image, Score
from db.schema.clock import moment
from db.stats.stability import Judgement, Stability, judge
from db.store.dialect import given, insert
from db.work import deliveries, on_demand, signals, uploads

#: A perceptual hash and its mirror image's, as `db.review.lookalikes.store_hashes` takes them.
Looks = bytes
#: A projected embedding, as `db.models.projections` keeps it.
EmbeddingBytes = bytes

#: After a switch, an image that the new active version has not scored waits so long for a worker that serves it.
_SWITCH_S = 2.0


@dataclass(frozen=True, slots=True)
class Scored:
    """An image's score, and the file that was scored: its digest, and its size in bytes and pixels.

    ``beside`` is the score of the worker's other version, if it gave one.
    """

    image_id: str
    policy: str
    score: float
    sha256: str
    bytes: int
    width: int
    height: int
    beside: float | None = None
    #: Its perceptual hashes (see `db.review.lookalikes`); None where the worker expected no flag, empty where it cannot
    #: compute them.
    looks: Looks | None = field(default=b"", repr=False)
    #: Its bytes are in the record, where nobody needs them now unless it is flagged.
    uploaded: bool = False
    #: How far its score moves when it is delivered again; None where nobody measured that.
    stability: Stability | None = None
    #: What its file says of its origin.
    signals: Sequence[FileSignal] = ()
    #: Its embedding's projection, empty where none may be kept; and why it is kept if it is not flagged, if it is.
    projection: EmbeddingBytes = field(default=b"", repr=False)
    kept_as: str | None = None
    #: The scores of the detectors that the version is made of; empty where it is one.
    keys: Sequence[float] = ()


@dataclass(frozen=True, slots=True)
class Provenance:
    """What produced a score: the model version, the engine that ran it, and the device it ran on."""

    version_id: int
    engine: str
    device: str


def record(
    session: Session, scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None = None
) -> list[str]:
    """Record a batch of scores and the flags that they raise; returns the ids that had no score of this version yet.

    Idempotent by (image, version): a second score of an image changes nothing. Only the version that is active now
    flags, whichever the worker believed to be active; an image that it has not scored stays pending.
    """
    ordered = sorted(scored, key=lambda item: item.image_id)  # one order for all workers: no deadlocks
    if not ordered:
        return []
    new = _insert(session, ordered, made_by, beside_by)
    now = effective_policy(session)
    active = _scores_of(ordered, made_by, beside_by, now)
    if now.scores_told:
        deliveries.add_scored(session, active)
    _mark_scored(session, [item for item in ordered if item.image_id in active])
    _requeue(session, [item.image_id for item in ordered if item.image_id not in active])
    signals.record_signals(session, {item.image_id: item.signals for item in ordered if item.signals})
    judged = _judge(session, ordered, active, now, measured=now.version_id == made_by.version_id)
    flagged = set() if now.flagging_paused else raise_flags(session, _new_flags(session, ordered, judged, new, now))
    _keep_looks(session, ordered, flagged)
    _keep_projections(session, ordered, flagged, made_by)
    keys = {item.image_id: item.keys for item in ordered if item.keys and item.image_id in flagged}
    key_scores.record_key_scores(session, keys, made_by.version_id)
    uploads.forget_unflagged(session, [item.image_id for item in ordered if item.uploaded and item.image_id in active])
    return [item.image_id for item in ordered if (item.image_id, made_by.version_id) in new]


def record_backfill(session: Session, scores: dict[str, float], made_by: Provenance) -> int:
    """Record a backfill's scores; returns how many were new.

    They flag nothing by themselves: see `case_changes.apply_thresholds`.
    """
    rows = [_row(image_id, score, made_by) for image_id, score in sorted(scores.items())]
    return len(_insert_rows(session, rows)) if rows else 0


def _insert(
    session: Session, scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None
) -> dict[tuple[str, int], int]:
    """``{(image id, version id): score id}`` of the new scores."""
    rows = [_row(item.image_id, item.score, made_by) for item in scored]
    if any(item.stability is not None for item in scored):  # nearly never: most scores are far from a threshold
        rows = [row | _limits(item.stability) for row, item in zip(rows, scored, strict=True)]
    if beside_by is not None:
        beside = [_row(item.image_id, item.beside, beside_by) for item in scored if item.beside is not None]
        rows += [dict.fromkeys(rows[0]) | row for row in beside]  # all rows of one statement have the same columns
    rows.sort(key=lambda row: row["version_id"])  # the order in which changes lock them
    return _insert_rows(session, rows)


def _row(image_id: str, score: float, made_by: Provenance) -> dict[str, Any]:
    return {
        "image_id": image_id,
        "version_id": made_by.version_id,
        "score": score,
        "engine": made_by.engine,
        "device": made_by.device,
    }


def _limits(stability: Stability | None) -> dict[str, Any]:
    if stability is None:
        return dict.fromkeys(field.name for field in fields(Stability))
    return asdict(stability)


def _insert_rows(session: Session, rows: Sequence[dict[str, Any]]) -> dict[tuple[str, int], int]:
    statement = (
        insert(session, Score)
        .on_conflict_do_nothing(index_elements=["image_id", "version_id"])
        .returning(Score.image_id, Score.version_id, Score.id)
    )
    return {(row.image_id, row.version_id): row.id for row in session.connection().execute(statement, rows)}


def _scores_of(
    scored: Sequence[Scored], made_by: Provenance, beside_by: Provenance | None, now: EffectivePolicy
) -> dict[str, float]:
    """The active version's score of each image that it scored."""
    if now.version_id == made_by.version_id:
        return {item.image_id: item.score for item in scored}
    if beside_by is not None and now.version_id == beside_by.version_id:
        return {item.image_id: item.beside for item in scored if item.beside is not None}
    return {}


def _mark_scored(session: Session, scored: Sequence[Scored]) -> None:
    if not scored:
        return
    columns: list[ColumnClause[Any]] = [column("id", String), column("sha256", String)]
    columns += [column(name, Integer) for name in ("bytes", "width", "height")]
    rows = given(
        session, columns, [(item.image_id, item.sha256, item.bytes, item.width, item.height) for item in scored]
    )
    statement = (
        update(Image)
        .where(Image.id == rows.c.id, Image.state != "scored")
        .values(
            state="scored",
            reason=None,
            detail=None,
            lease_owner=None,
            lease_until=None,
            changed_at=moment(),
            sha256=rows.c.sha256,
            bytes=rows.c.bytes,
            width=rows.c.width,
            height=rows.c.height,
        )
    )
    session.connection().execute(statement)


def _requeue(session: Session, image_ids: Collection[str]) -> None:
    """Make them due again without counting the attempt; an image that the active version scored before stays scored."""
    if image_ids:
        session.execute(
            update(Image)
            .where(Image.id.in_(image_ids), Image.state == "pending")
            .values(
                attempts=Image.attempts - 1,
                next_attempt_at=moment(_SWITCH_S),
                lease_owner=None,
                lease_until=moment(_SWITCH_S),  # otherwise a second message would skip the pause
            )
            .execution_options(synchronize_session=False)
        )


def _judge(
    session: Session, scored: Sequence[Scored], active: Mapping[str, float], now: EffectivePolicy, *, measured: bool
) -> dict[str, Judgement]:
    """What their thresholds make of the images that the active version scored.

    ``measured``: that version's are the limits of the scores; they count where the policy notes unstable photos.
    """
    limited = measured and any(item.stability is not None for item in scored)
    noting = noting_policies(session) if limited else ()
    found: dict[str, Judgement] = {}
    for item in scored:
        threshold = now.threshold(item.policy)
        if threshold is not None and item.image_id in active:
            limits = item.stability if item.policy in noting else None
            found[item.image_id] = judge(active[item.image_id], limits, threshold.value)
    return found


def _new_flags(
    session: Session,
    scored: Sequence[Scored],
    judged: Mapping[str, Judgement],
    new: Mapping[tuple[str, int], int],
    now: EffectivePolicy,
) -> list[NewFlag]:
    """Flags of new scores: at or above their threshold, or of files that say what their policy flags.

    Among them are unstable photos, of policies that note those.
    """
    said_of = {item.image_id: (item.policy, item.signals) for item in scored if item.signals}
    evidence = signal_actions.flagging_evidence(session, said_of)
    flagged = []
    for item in scored:
        said, found = evidence.get(item.image_id), judged.get(item.image_id, "clear")
        score_id = new.get((item.image_id, now.version_id))
        if score_id is None or (found == "clear" and said is None):
            continue
        unstable = found == "unstable" and said is None
        threshold = now.threshold(item.policy) if found == "flagged" or unstable else None
        flagged.append(NewFlag(item.image_id, score_id, threshold.id if threshold else None, said, unstable))
    return flagged


def _keep_looks(session: Session, scored: Sequence[Scored], flagged: Collection[str]) -> None:
    found = [item for item in scored if item.image_id in flagged]
    lookalikes.store_hashes(session, {item.image_id: item.looks for item in found if item.looks})
    missing = [item.image_id for item in found if item.looks is None]  # the worker did not know the threshold yet
    if missing:
        on_demand.request_hashes(session, Flag.image_id.in_(missing))


def _keep_projections(
    session: Session, scored: Sequence[Scored], flagged: Collection[str], made_by: Provenance
) -> None:
    kinds = {item.image_id: "flagged" if item.image_id in flagged else item.kept_as for item in scored}
    found = {item.image_id: (kinds[item.image_id], item.projection) for item in scored if item.projection}
    kept = {name: KeptProjection(kind, projection) for name, (kind, projection) in found.items() if kind is not None}
    projections.keep_projections(session, made_by.version_id, kept)
