"""A threshold as people ask for it: by the rate they accept or by its score, measured on real photos."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.models import references
from db.policy import thresholds
from db.errors import DbError, NotFoundError
from db.stats.reals import Reals
from db.schema import ModelVersion
from db.policy.thresholds import Choice


@dataclass(frozen=True, slots=True)
class Asked:
    """A false positive rate or a score, exactly one; ``reference``: the model's own reals where it is None."""

    fpr: float | None = None
    value: float | None = None
    reference: str | None = None
    force: bool = False

    def __post_init__(self) -> None:
        if (self.fpr is None) == (self.value is None):
            raise DbError("a threshold is chosen by its false positive rate or by its score: one of them")


def choose(session: Session, version: ModelVersion, asked: Asked) -> Choice:
    """The threshold that is asked for; raises `DbError` where it cannot be had, or cannot be shown to be it."""
    if asked.fpr is not None:
        reals = references.reals_of(session, version, asked.reference)
        return thresholds.by_fpr(reals, asked.fpr, force=asked.force)
    return thresholds.by_value(_reals(session, version, asked.reference), asked.value or 0.0)


def _reals(session: Session, version: ModelVersion, reference: str | None) -> Reals | None:
    """To measure a threshold by value, which may be set where no reals are known."""
    try:
        return references.reals_of(session, version, reference)
    except NotFoundError:
        if reference is not None:
            raise
        return None
