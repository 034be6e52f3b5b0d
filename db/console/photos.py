"""A case's photos as they are shown: each with its picture, and where its score stands."""

from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.review import dossiers
from db.work import pictures
from db.console.scale import Scale, scale
from db.review.dossiers import FlaggedPhoto
from db.work.pictures import HEATMAP, PHOTO, PictureState


@dataclass(frozen=True, slots=True)
class Shown:
    """A flagged photo on the page. Whoever is blind gets no scale."""

    number: int
    flagged: FlaggedPhoto
    photo: PictureState
    heatmap: PictureState
    scale: Scale | None


def shown(session: Session, case_id: int, *, blind: bool) -> list[Shown]:
    """A case's photos, the highest score first; for whoever is blind in the order in which they were flagged."""
    found = dossiers.photos(session, case_id)
    if blind:
        found.sort(key=lambda item: item.flag_id)
    ids = {item.image.id for item in found}
    photos, heatmaps = (pictures.states(session, ids, kind) for kind in (PHOTO, HEATMAP))
    return [
        Shown(
            number,
            item,
            photos[item.image.id],
            heatmaps[item.image.id],
            None if blind else scale(item.version, item.score.score, item.threshold.value),
        )
        for number, item in enumerate(found, start=1)
    ]


def ask(session: Session, case_id: int, author: str) -> None:
    """Ask workers for the photos of a case that nobody has asked for."""
    ids = [item.image.id for item in dossiers.photos(session, case_id)]
    pictures.ask_missing(session, pictures.states(session, ids, PHOTO).values(), author)
