"""Retention: deletes what is past its period, in batches, in an order that can be interrupted.

Five periods: pictures for reviewers; an image's account and URL; the record of images that were neither flagged nor
sampled; webhook deliveries; and projections of embeddings. All but the last may be unlimited. Decided cases are kept,
without the account and without what reviewers wrote about it. While a case can be appealed, its photos stay too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import PositiveFloat
from sqlalchemy import ColumnElement, Select, delete, exists, func, select, update
from sqlalchemy.orm import Session

from db.privacy import erasure
from db.privacy.erasure import BATCH, erase_from_cases
from db.review.reviews import FINAL_DECISIONS
from db.schema import (
    AccountFacts,
    Case,
    Delivery,
    Flag,
    Image,
    PerceptualHash,
    Preview,
    Projection,
    Request,
    Sample,
    Score,
    Signal,
    Upload,
)
from db.schema.clock import moment
from db.settings import Environment
from db.store.session import Database, erasing

_DAY_S = 86_400.0


class RetentionSettings(Environment):
    """How long things are kept, in days; those without a number of their own for ever when not set."""

    keep_pictures_days: PositiveFloat | None = None
    keep_accounts_days: PositiveFloat | None = None
    keep_scores_days: PositiveFloat | None = None
    keep_deliveries_days: PositiveFloat | None = None
    #: Of numbers that workers make of embeddings. `unmask model novelty` compares five weeks of them.
    keep_projections_days: PositiveFloat = 42.0


#: For each period: which rows are past it after so many days, and what happens to a batch of them.
Selector = Callable[[float], Select[Any]]
Action = Callable[[Session, Sequence[Any]], object]


def preview_retention(session: Session, settings: RetentionSettings) -> dict[str, int]:
    """How many rows are past their period now, by period."""
    return {
        name: session.scalar(select(func.count()).select_from(which(days).subquery())) or 0
        for name, days, which, _ in _configured(settings)
    }


def apply_retention(database: Database, settings: RetentionSettings, batch: int = BATCH) -> dict[str, int]:
    """Apply the configured periods; returns how many rows each affected. Repeating it finishes an interrupted run."""
    return {name: _apply(database, which(days), apply, batch) for name, days, which, apply in _configured(settings)}


def _apply(database: Database, which: Select[Any], apply: Action, batch: int) -> int:
    # Each batch begins where the last one ended: searching from the first row took 0.6 s and more for a thousand rows
    # among ten million that stay.
    (row_id,) = which.selected_columns
    rows, total = which.order_by(row_id).limit(batch).with_for_update(skip_locked=True), 0
    ids: list[Any] = []
    while True:
        with database.writing() as session:
            ids = list(session.scalars(rows.where(row_id > ids[-1]) if ids else rows))
            apply(session, ids)
        total += len(ids)
        if len(ids) < batch:
            return total


def _configured(settings: RetentionSettings) -> list[tuple[str, float, Selector, Action]]:
    periods = (
        ("pictures", settings.keep_pictures_days, _old_pictures, _delete_pictures),
        ("uploads", settings.keep_pictures_days, _old_uploads, _delete_uploads),
        ("cases", settings.keep_accounts_days, _old_cases, _close),
        ("accounts", settings.keep_accounts_days, _old_accounts, erasure.erase_images),
        ("facts", settings.keep_accounts_days, _old_facts, _delete_facts),
        ("scores", settings.keep_scores_days, _old_records, _delete_records),
        ("projections", settings.keep_projections_days, _old_projections, _delete_projections),
        ("deliveries", settings.keep_deliveries_days, _old_deliveries, _delete_deliveries),
    )
    return [(name, days, which, apply) for name, days, which, apply in periods if days is not None]


def _old_pictures(days: float) -> Select[Any]:
    return select(Preview.id).where(Preview.picture.is_not(None), Preview.created_at < moment(-days * _DAY_S))


def _old_uploads(days: float) -> Select[Any]:
    """Bytes that came over HTTP and that no worker needs: of photos that an open case shows."""
    waits = exists(select(Image.id).where(Image.id == Upload.image_id, Image.state == "pending"))
    return select(Upload.image_id).where(Upload.created_at < moment(-days * _DAY_S), ~waits)


def _old_accounts(days: float) -> Select[Any]:
    """Images whose account no case needs: neither an open one, nor one that may still be appealed or undone."""
    known = Image.account_id.is_not(None) | Image.url.is_not(None)
    decided = (
        Case.state.in_(FINAL_DECISIONS) & Case.account_id.is_not(None) & (Case.changed_at >= moment(-days * _DAY_S))
    )
    return _settled(days).where(known, ~_flagged((Case.state == "open") | decided))


def _old_cases(days: float) -> Select[Any]:
    past = Case.changed_at < moment(-days * _DAY_S)
    return select(Case.id).where(Case.account_id.is_not(None), Case.state != "open", past)


def _old_facts(days: float) -> Select[Any]:
    """Facts about accounts that have no case."""
    case = exists(select(Case.id).where(Case.account_id == AccountFacts.account_id))
    return select(AccountFacts.account_id).where(AccountFacts.changed_at < moment(-days * _DAY_S), ~case)


def _old_records(days: float) -> Select[Any]:
    """Images that were neither flagged nor sampled for reviewers."""
    return _settled(days).where(~_flagged(), ~exists(select(Sample.id).where(Sample.image_id == Image.id)))


def _old_deliveries(days: float) -> Select[Any]:
    """Deliveries that are finished; pending ones are still to be sent."""
    return select(Delivery.id).where(Delivery.state != "pending", Delivery.changed_at < moment(-days * _DAY_S))


def _old_projections(days: float) -> Select[Any]:
    return select(Projection.id).where(Projection.kept_at < moment(-days * _DAY_S))


def _settled(days: float) -> Select[Any]:
    return select(Image.id).where(Image.state != "pending", Image.created_at < moment(-days * _DAY_S))


def _flagged(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(Flag.id).join(Case, Case.id == Flag.case_id).where(Flag.image_id == Image.id, *which))


def _delete_pictures(session: Session, ids: Sequence[Any]) -> None:
    session.execute(update(Preview).where(Preview.id.in_(ids)).values(picture=None))


def _delete_uploads(session: Session, ids: Sequence[Any]) -> None:
    session.execute(delete(Upload).where(Upload.image_id.in_(ids)))


def _delete_facts(session: Session, ids: Sequence[Any]) -> None:
    session.execute(delete(AccountFacts).where(AccountFacts.account_id.in_(ids)))


def _close(session: Session, ids: Sequence[Any]) -> None:
    erase_from_cases(session, Case.id.in_(ids))


def _delete_records(session: Session, ids: Sequence[Any]) -> None:
    with erasing(session):
        for table in (Signal, Score, Projection, Preview, Request, PerceptualHash, Delivery):
            session.execute(delete(table).where(table.image_id.in_(ids)))
        session.execute(delete(Image).where(Image.id.in_(ids)))


def _delete_projections(session: Session, ids: Sequence[Any]) -> None:
    session.execute(delete(Projection).where(Projection.id.in_(ids)))


def _delete_deliveries(session: Session, ids: Sequence[Any]) -> None:
    session.execute(delete(Delivery).where(Delivery.id.in_(ids)))
