"""Retention: what was kept for as long as it should be goes, in batches, in an order that can be interrupted.

Four periods, each of which may be for ever: pictures that reviewers are shown; whose an image is, and where it came
from; the record of images that were neither flagged nor sampled; and what the platform was told. What people decided on
is kept, without the account and without what they wrote about it. While a case can be appealed its photos stay, too.
"""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import PositiveFloat
from sqlalchemy import ColumnElement, Select, delete, exists, func, select, update
from sqlalchemy.orm import Session

from db.privacy import accounts
from db.privacy.accounts import BATCH, close_cases
from db.schema.clock import moment
from db.store.passes import erasing
from db.review.reviews import DECIDED
from db.schema import Case, Delivery, Flag, Image, Look, Preview, Request, Sample, Score
from db.store.session import Database
from db.settings import Environment

_DAY_S = 86_400.0


class RetentionSettings(Environment):
    """How long things are kept, in days; for ever when not set."""

    keep_pictures_days: PositiveFloat | None = None
    keep_accounts_days: PositiveFloat | None = None
    keep_scores_days: PositiveFloat | None = None
    keep_deliveries_days: PositiveFloat | None = None


#: What each period is about: which rows are past it, and what happens to a batch of them.
Due = Callable[[float], Select[Any]]
Apply = Callable[[Session, Sequence[Any]], object]


def due(session: Session, settings: RetentionSettings) -> dict[str, int]:
    """How many previews, images and cases are past their period now, by period; what goes earlier counts once only."""
    return {
        name: session.scalar(select(func.count()).select_from(which(days).subquery())) or 0
        for name, days, which, _ in _configured(settings)
    }


def run(database: Database, settings: RetentionSettings, batch: int = BATCH) -> dict[str, int]:
    """Apply the configured periods; how many rows each was applied to. Safe to repeat, and to go on with."""
    return {name: _apply(database, which(days), apply, batch) for name, days, which, apply in _configured(settings)}


def _apply(database: Database, which: Select[Any], apply: Apply, batch: int) -> int:
    # Each batch begins where the last one ended: those that looked from the first row on took 0.6 s and more for a
    # thousand rows, beside ten million that stay.
    (row_id,) = which.selected_columns
    due, total = which.order_by(row_id).limit(batch).with_for_update(skip_locked=True), 0
    ids: list[Any] = []
    while True:
        with database.writing() as session:
            ids = list(session.scalars(due.where(row_id > ids[-1]) if ids else due))
            apply(session, ids)
        total += len(ids)
        if len(ids) < batch:
            return total


def _configured(settings: RetentionSettings) -> list[tuple[str, float, Due, Apply]]:
    periods = (
        ("pictures", settings.keep_pictures_days, _old_pictures, _delete_pictures),
        ("cases", settings.keep_accounts_days, _old_cases, _close),
        ("accounts", settings.keep_accounts_days, _old_accounts, accounts.erase),
        ("scores", settings.keep_scores_days, _old_records, _delete_records),
        ("deliveries", settings.keep_deliveries_days, _old_deliveries, _delete_deliveries),
    )
    return [(name, days, which, apply) for name, days, which, apply in periods if days is not None]


def _old_pictures(days: float) -> Select[Any]:
    return select(Preview.id).where(Preview.picture.is_not(None), Preview.created_at < moment(-days * _DAY_S))


def _old_accounts(days: float) -> Select[Any]:
    """Images whose account no case needs to know: one that is open, or that may still be appealed or taken back."""
    known = Image.account_id.is_not(None) | Image.url.is_not(None)
    decided = Case.state.in_(DECIDED) & Case.account_id.is_not(None) & (Case.changed_at >= moment(-days * _DAY_S))
    return _settled(days).where(known, ~_flagged((Case.state == "open") | decided))


def _old_cases(days: float) -> Select[Any]:
    past = Case.changed_at < moment(-days * _DAY_S)
    return select(Case.id).where(Case.account_id.is_not(None), Case.state != "open", past)


def _old_records(days: float) -> Select[Any]:
    """Images that nobody was, or is, to look at."""
    return _settled(days).where(~_flagged(), ~exists(select(Sample.id).where(Sample.image_id == Image.id)))


def _old_deliveries(days: float) -> Select[Any]:
    """Those that came to an end; one that still waits is not told yet."""
    return select(Delivery.id).where(Delivery.state != "pending", Delivery.changed_at < moment(-days * _DAY_S))


def _settled(days: float) -> Select[Any]:
    return select(Image.id).where(Image.state != "pending", Image.created_at < moment(-days * _DAY_S))


def _flagged(*which: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(select(Flag.id).join(Case, Case.id == Flag.case_id).where(Flag.image_id == Image.id, *which))


def _delete_pictures(session: Session, ids: Sequence[Any]) -> None:
    session.execute(update(Preview).where(Preview.id.in_(ids)).values(picture=None))


def _close(session: Session, ids: Sequence[Any]) -> None:
    close_cases(session, Case.id.in_(ids))


def _delete_records(session: Session, ids: Sequence[Any]) -> None:
    with erasing(session):
        for table in (Score, Preview, Request, Look):
            session.execute(delete(table).where(table.image_id.in_(ids)))
        session.execute(delete(Image).where(Image.id.in_(ids)))


def _delete_deliveries(session: Session, ids: Sequence[Any]) -> None:
    session.execute(delete(Delivery).where(Delivery.id.in_(ids)))
