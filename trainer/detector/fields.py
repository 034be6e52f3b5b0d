"""What the fields of a card may hold. A card comes with a file from anywhere: nothing in it is believed.

Counts and rates are what they can be, names are one line, and texts have an end.
"""

from itertools import pairwise
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

#: JSON's readers agree on whole numbers up to here.
_MOST = 2**53


class Part(BaseModel):
    """Fixed once made. Of fields that it does not know, a later release may have made use."""

    model_config = ConfigDict(frozen=True, extra="ignore", allow_inf_nan=False)


def _rising(scores: tuple[float, ...]) -> tuple[float, ...]:
    if not scores or any(low > high for low, high in pairwise(scores)):
        raise ValueError("empty, or not sorted")
    return scores


#: How many of something.
Count = Annotated[int, Field(ge=0, le=_MOST)]
#: A share of something, or a score.
Share = Annotated[float, Field(ge=0, le=1)]
#: As many scores as there were photos, sorted.
Scores = Annotated[tuple[Share, ...], AfterValidator(_rising)]
#: Where flagging begins: a hair above 1 where real photos have the highest score that there is.
Threshold = Annotated[float, Field(ge=0, le=1.001)]
#: What pixels are shifted by before the backbone sees them, and divided by: float32 must hold it.
Shift = Annotated[float, Field(ge=-1e6, le=1e6)]
Divisor = Annotated[float, Field(ge=1e-6, le=1e6)]
#: One line, without control characters.
Name = Annotated[str, Field(max_length=300, pattern=r"^\P{Cc}*$")]
#: Some lines.
Text = Annotated[str, Field(max_length=10_000, pattern=r"^[\P{Cc}\n\t]*$")]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


def faults(kind: Any, what: str, value: object) -> list[str]:
    """What a card would say against this value: to be asked before a run, and not at its end."""
    try:
        TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        return [f"{what} {ascii(value)[:200]}: {each['msg']}" for each in error.errors()]
    return []
