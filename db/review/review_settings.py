"""What a platform may choose about reviewing: ``UNMASK_REVIEW_...``."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat

from db.errors import DbError
from db.settings import Environment

#: Codes that can be counted, for both decisions.
_REASONS = "artefacts,background,same-face,camera-photo,retouched,drawing,no-face,other"
_CODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


def _codes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if _CODE.fullmatch(value) is None:
            raise ValueError(f"reason {value!r} is no code of 1 to 64 of a-z, 0-9, - and _")
    return values


class ReviewSettings(Environment):
    """How people review."""

    #: For how long a case or a sample is kept for whoever looks at it.
    review_lease_s: PositiveFloat = 600.0
    #: Which reasons a decision may have ("artefacts,retouched,other").
    review_reasons: Annotated[tuple[str, ...], BeforeValidator(_split), AfterValidator(_codes)] = Field(
        default=tuple(_REASONS.split(","))
    )
    #: Which share of cases is shown without scores and heatmaps.
    blind_share: float = Field(default=0.05, ge=0, le=1)
    #: Policies whose cases close when two people say the same.
    two_person_policies: Annotated[tuple[str, ...], BeforeValidator(_split)] = ()

    def check_reason(self, reason: str | None) -> None:
        """Raises `DbError` naming the reasons that there are."""
        if reason is not None and reason not in self.review_reasons:
            raise DbError(f"reason {reason!r} is not one of {', '.join(self.review_reasons)}")

    def people(self, policy: str) -> int:
        """How many must say the same to close a case."""
        return 2 if policy in self.two_person_policies else 1
