"""Entries of the audit log as its page shows them: actions and details in the console's words."""

from dataclasses import dataclass

from db.access.actions import in_words
from db.review.effective_reviews import DECISION_WORDS
from db.review.restrictions import RESTRICTIONS
from db.schema import AuditEntry

_VERDICTS = {"fake": "AI-generated"}


@dataclass(frozen=True, slots=True)
class AuditLine:
    """An entry, its action in words, and its detail in words."""

    entry: AuditEntry
    action: str
    detail: str

    @classmethod
    def of(cls, entry: AuditEntry) -> "AuditLine":
        """The line of an entry."""
        return cls(entry, in_words(entry.what), _detail(entry.what, entry.detail or ""))


def _detail(what: str, detail: str) -> str:
    """Codes of decisions, verdicts and restrictions in words; everything else as it was written."""
    match what:
        case "decided":
            decision, comma, more = detail.partition(",")
            return DECISION_WORDS.get(decision, decision) + comma + more
        case "judged_sample":
            sample, colon, verdict = detail.rpartition(": ")
            return sample + colon + _VERDICTS.get(verdict, verdict)
        case "restricted":
            return (
                "opened to all reviewers" if detail == "lifted" else f"leads only: {RESTRICTIONS.get(detail, detail)}"
            )
        case _:
            return detail
