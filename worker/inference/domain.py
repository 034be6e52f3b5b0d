"""The domain gate: of a photo that the detector was not made for a score says nothing, and a low one says "real"."""

from trainer.detector.card import Card
from trainer.pixels.preprocess import Picture
from worker.core.errors import OutOfDomainError


def check(picture: Picture, card: Card, min_side: int | None) -> None:
    """Raises `OutOfDomainError` for an animation, and for a side below ``min_side`` (None: the card's floor)."""
    if picture.animated:
        raise OutOfDomainError("animated", f"more than one frame, as {picture.format}")
    floor = min_side if min_side is not None else card.smallest_side
    if min(picture.width, picture.height) < floor:
        size = f"{picture.width}x{picture.height}"
        raise OutOfDomainError("too_small", f"{size} pixels (model {card.name} is for {floor} and more)")
