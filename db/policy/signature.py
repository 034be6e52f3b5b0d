"""Who did something, and why: beside everything that people change."""

from dataclasses import dataclass

from db.errors import DbError
from db.work.images import check_id


@dataclass(frozen=True, slots=True)
class Signature:
    """A name, and a sentence for those who read the history."""

    author: str
    reason: str = ""

    def __post_init__(self) -> None:
        check_id("author", self.author)

    def explained(self, what: str) -> "Signature":
        """The same; raises when ``what`` was asked for without a reason."""
        if not self.reason.strip():
            raise DbError(f"{what} needs a --reason")
        return self
