"""Settings of reviewing: ``UNMASK_REVIEW_*``, ``UNMASK_BLIND_SHARE``, ``UNMASK_TWO_PERSON_POLICIES``."""

import re
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, PositiveFloat

from db.errors import DbError
from db.settings import Environment, split_commas
from db.stats.hash_fraction import hash_fraction

#: Reason codes for both decisions; codes rather than text, so that they can be counted.
_REASONS = "artefacts,background,same-face,camera-photo,retouched,drawing,no-face,other"
_CODE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def _codes(values: tuple[str, ...]) -> tuple[str, ...]:
    for value in values:
        if _CODE.fullmatch(value) is None:
            raise ValueError(
                f"reason {value!r} is not a code: 1 to 64 of a-z, 0-9, - and _, starting with a letter or digit"
            )
    return values


class ReviewSettings(Environment):
    """The rules of reviewing that a platform may choose."""

    #: How long a reviewer holds a case or a sample after they last worked on it.
    review_lease_s: PositiveFloat = 600.0
    #: Reasons that a decision may give ("artefacts,retouched,other").
    review_reasons: Annotated[tuple[str, ...], BeforeValidator(split_commas), AfterValidator(_codes)] = Field(
        default=tuple(_REASONS.split(","))
    )
    #: Within which time an appeal is to be answered. The page of an appealed case shows what is left of it.
    appeal_answer_s: PositiveFloat = 7 * 86_400.0
    #: Share of cases that a reviewer sees without scores and heatmaps.
    blind_share: float = Field(default=0.05, ge=0, le=1)
    #: The share of all photos that are AI-generated, as the queue's order assumes it until people have decided cases.
    review_prevalence: float = Field(default=0.01, gt=0, lt=1)
    #: Policies whose cases need the same decision by two reviewers.
    two_person_policies: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = ()

    def check_reason(self, reason: str | None) -> None:
        """Raises `DbError`, which lists the allowed reasons, for an unknown reason."""
        if reason is not None and reason not in self.review_reasons:
            raise DbError(f"reason {reason!r} is not one of {', '.join(self.review_reasons)}")

    def people(self, policy: str) -> int:
        """How many reviewers must make the same decision to close a case."""
        return 2 if policy in self.two_person_policies else 1

    def shows_blind(self, case_id: int, reviewer: str) -> bool:
        """Whether this reviewer sees this case blind: a deterministic draw per (case, reviewer) at `blind_share`."""
        return hash_fraction(f"{case_id} {reviewer}".encode()) < self.blind_share
