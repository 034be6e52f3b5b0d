"""The types of a card's fields. A card comes with a file from anywhere: every field is checked.

Counts and rates have bounds, names are one line, and texts have a maximum length.
"""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: JSON readers agree on whole numbers up to here.
_MOST = 2**53


class CardPart(BaseModel):
    """A part of a card: frozen, and tolerant of unknown fields, which a later release may have added."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def _rising(scores: tuple[float, ...]) -> tuple[float, ...]:
    if not scores or any(low > high for low, high in pairwise(scores)):
        raise ValueError("empty, or not sorted")
    return scores


#: A number of things.
Count = Annotated[int, Field(ge=0, le=_MOST)]
#: A share of something, or a score.
Share = Annotated[float, Field(ge=0, le=1)]
#: One score for each photo, ascending.
SortedScores = Annotated[tuple[Share, ...], AfterValidator(_rising)]
#: The lowest score that is flagged: slightly above 1 where real photos have the highest possible score.
Threshold = Annotated[float, Field(ge=0, le=1.001)]
#: A channel's mean and its standard deviation, by which pixels are normalised: float32 must hold them.
Shift = Annotated[float, Field(ge=-1e6, le=1e6)]
Divisor = Annotated[float, Field(ge=1e-6, le=1e6)]
#: One line, without control characters.
Name = Annotated[str, Field(max_length=300, pattern=r"^\P{Cc}*$")]
#: Some lines, without other control characters.
Text = Annotated[str, Field(max_length=10_000, pattern=r"^[\P{Cc}\n\t]*$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def field_faults(kind: Any, what: str, value: object) -> list[str]:
    """Why a card would refuse this value, one line each: ask before a run rather than fail at its end."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        return [f"{what} {ascii(value)[:200]}: {each['msg']}" for each in error.errors()]
    return []
