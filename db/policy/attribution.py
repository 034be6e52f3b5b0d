"""Who changed a threshold, a pause or a model version, and why: a leaf that all of `db.policy` imports."""

from dataclasses import dataclass

from db.errors import DbError
from db.store.ids import check_id


@dataclass(frozen=True, slots=True)
class ChangeAuthor:
    """A name, and a sentence for those who read the history; raises `IdError` for a name that is no id."""

    author: str
    reason: str = ""

    def __post_init__(self) -> None:
        check_id("author", self.author)

    def explained(self, what: str) -> "ChangeAuthor":
        """Return itself; raises `DbError` when the reason is missing that ``what`` needs."""
        if not self.reason.strip():
            raise DbError(f"{what} needs a --reason")
        return self
