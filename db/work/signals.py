"""Signals of images: recording what files say, and reading all that is known of an image besides its score."""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

from sqlalchemy import Integer, String, column, or_, select
from sqlalchemy.orm import Session

from db.file_signals import FileSignal
from db.schema import Image, Signal
from db.store.dialect import given, insert

_COLUMNS = ("image_id", "kind", "value", "place", "trust")


def record_signals(session: Session, found: Mapping[str, Sequence[FileSignal]]) -> None:
    """Record what images' files say, ``{image: signals}``, each once; of erased images nothing.

    Call it when the transaction has locked the images' rows, so that an erasure comes before or after it.
    """
    every = [(image_id, one) for image_id, each in sorted(found.items()) for one in each]
    rows = [(image_id, one.kind, one.value, one.where, one.trust, n) for n, (image_id, one) in enumerate(every)]
    if not rows:
        return
    new = given(session, [*(column(name, String) for name in _COLUMNS), column("position", Integer)], rows)
    kept = select(*(new.c[name] for name in _COLUMNS)).join(Image, Image.id == new.c.image_id)
    kept = kept.where(or_(Image.account_id.is_not(None), Image.url.is_not(None))).order_by(new.c.position)
    session.execute(insert(session, Signal).from_select(_COLUMNS, kept).on_conflict_do_nothing())


def signals_of(session: Session, image_ids: Collection[str]) -> dict[str, list[Signal]]:
    """``{image: its signals}`` in the order in which they were found, of those that have any."""
    found: dict[str, list[Signal]] = defaultdict(list)
    statement = select(Signal).where(Signal.image_id.in_(image_ids)).order_by(Signal.id)
    for signal in session.scalars(statement) if image_ids else ():
        found[signal.image_id].append(signal)
    return found
