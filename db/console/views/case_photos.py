"""A case's photos as the console shows them: each with its picture, its heatmap and its score's scale."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy.orm import Session

from db.console.views.formatting import format_score
from db.console.views.score_scale import ScoreScale, score_scale
from db.file_signals import TITLES, TRUSTS
from db.models.key_scores import DETECTOR, key_odds
from db.models.score_odds import OddsReader
from db.review import cases
from db.review.cases import FlaggedPhoto
from db.schema import Image, ModelVersion, Signal
from db.work import previews
from db.work.previews import HEATMAP, ORIGINAL, PHOTO, PictureState
from db.work.signals import signals_of

#: Pixels of the longer side of a preview.
PREVIEW_SIDE = 512


@dataclass(frozen=True, slots=True)
class ShownSignal:
    """A signal in words: what its kind says, what was found where, and how far that can be trusted."""

    title: str
    value: str
    place: str
    trust: str

    @classmethod
    def of(cls, signal: Signal) -> "ShownSignal":
        """A signal of the record."""
        trust = TRUSTS.get(signal.trust or "", "")
        return cls(TITLES.get(signal.kind, signal.kind), signal.value, signal.place, trust)


@dataclass(frozen=True, slots=True)
class CasePhoto:
    """A photo of the case on the page; for a blind reviewer it has neither scale nor signals.

    ``unstable`` says of a photo that is not flagged why a person is to see it.
    """

    number: int
    flagged: FlaggedPhoto
    photo: PictureState
    heatmap: PictureState
    scale: ScoreScale | None
    signals: list[ShownSignal]
    unstable: str | None = None
    #: Each detector of a version that needs both, in words.
    detectors: tuple[str, ...] = ()

    @property
    def larger(self) -> bool:
        """Whether the photo has more pixels than its preview."""
        return max(self.flagged.image.width or 0, self.flagged.image.height or 0) > PREVIEW_SIDE


def list_case_photos(session: Session, case_id: int, *, blind: bool) -> list[CasePhoto]:
    """A case's photos, highest score first; for a blind reviewer in the order in which they were flagged."""
    found = cases.flagged_photos(session, case_id)
    if blind:
        found.sort(key=lambda item: item.flag_id)
    ids = {item.image.id for item in found}
    signals = {} if blind else signals_of(session, ids)
    odds = OddsReader()
    photos, heatmaps = (previews.picture_states(session, ids, kind) for kind in (PHOTO, HEATMAP))
    return [
        CasePhoto(
            number,
            item,
            photos[item.image.id],
            heatmaps[item.image.id],
            None if blind else _scale(session, odds, item),
            [ShownSignal.of(signal) for signal in signals.get(item.image.id, []) if signal.kind != DETECTOR],
            None if blind else item.unstable_words,
            _detectors(item, signals.get(item.image.id, [])),
        )
        for number, item in enumerate(found, start=1)
    ]


def _detectors(item: FlaggedPhoto, signals: Iterable[Signal]) -> tuple[str, ...]:
    """What each detector of the version says that scored the photo, and how rare that is."""
    told = (signal for signal in signals if signal.kind == DETECTOR and signal.version_id == item.version.id)
    return tuple(f"{signal.place}: {_key_words(item.version, signal)}" for signal in told)


def _key_words(version: ModelVersion, signal: Signal) -> str:
    score = float(signal.value)
    odds = key_odds(version.card, signal.place, score)
    return format_score(score) + (f", {odds.words}" if odds is not None else "")


def _scale(session: Session, odds: OddsReader, item: FlaggedPhoto) -> ScoreScale:
    """Among the real photos by which the threshold was chosen that flagged it, or else those of the model's card."""
    threshold, reference = item.threshold, item.threshold.reference if item.threshold is not None else None
    reals = odds.reals(session, item.version.name, reference)
    return score_scale(reals, item.score.score, threshold.value if threshold is not None else None)


def request_photos(session: Session, case_id: int, author: str) -> None:
    """Request pictures of a case's photos from workers, where nobody has requested them yet."""
    found = [item.image for item in cases.flagged_photos(session, case_id)]
    request_pictures(session, found, author)


def request_pictures(session: Session, found: Iterable[Image], author: str) -> None:
    """Request previews of these images, and pictures at their own size of those that are larger than a preview."""
    small = {image.id: max(image.width or 0, image.height or 0) <= PREVIEW_SIDE for image in found}
    large = [image_id for image_id, fits in small.items() if not fits]
    for kind, ids in ((PHOTO, list(small)), (ORIGINAL, large)):
        previews.request_missing(session, previews.picture_states(session, ids, kind).values(), author)
