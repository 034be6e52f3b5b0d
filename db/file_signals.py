"""What a photo's file says of itself: the kinds of such signals, and how far each can be trusted.

A file that says nothing means nothing: anybody can remove metadata, and content delivery networks do. A file that says
"AI-generated" may be believed; one that says "camera" proves nothing, since metadata can be copied from any photo.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

#: The file says that a model generated the picture.
AI = "provenance.ai"
#: The file says that a model generated a part of the picture.
AI_EDITED = "provenance.ai_edited"
#: The file names a camera. Context for a reviewer, never a proof that the photo is real.
CAMERA = "provenance.camera"
#: The file has a C2PA manifest: who made it, and who signed it.
CREDENTIALS = "provenance.credentials"
#: Metadata that was not read, and why: too large, malformed, or over the limits of the sandbox.
UNREAD = "provenance.unread"

#: What each kind is called in texts for people.
TITLES = {
    AI: "The file says: AI-generated",
    AI_EDITED: "The file says: edited with AI",
    CAMERA: "The file names a camera (context, no proof)",
    CREDENTIALS: "The file has content credentials",
    UNREAD: "Metadata that was not read",
}

#: The same in a list, where there is little room.
TAGS = {
    AI: "file says AI-generated",
    AI_EDITED: "file says edited with AI",
    CAMERA: "file names a camera",
    CREDENTIALS: "content credentials",
    UNREAD: "metadata not read",
}

#: A C2PA signature holds and its signer is on the trust list; it holds, and the signer is not; it does not hold, or the
#: picture was changed since; there is no signature.
VALID, UNTRUSTED, INVALID, UNSIGNED = "valid", "untrusted", "invalid", "unsigned"
#: What each trust means, for people.
TRUSTS = {
    VALID: "signed by somebody on the trust list",
    UNTRUSTED: "signed, but by nobody on the trust list: anybody can sign like this",
    INVALID: "the signature does not hold, or the picture was changed since",
    UNSIGNED: "not signed: anybody can write this",
}

#: Characters of a value, and signals of one photo, at most.
MAX_VALUE = 200
MAX_SIGNALS = 20
#: Characters of `where`, at most.
MAX_WHERE = 100
_ELLIPSIS = "…"


@dataclass(frozen=True, slots=True)
class FileSignal:
    """One thing that a file says: its kind, what exactly, in which field, and how far that can be trusted."""

    kind: str
    value: str
    where: str
    trust: str = UNSIGNED

    @classmethod
    def of(cls, kind: str, value: str, where: str, trust: str = UNSIGNED) -> "FileSignal":
        """A signal of text from a file: printable, and within the limits."""
        return cls(kind, printable(value, MAX_VALUE), printable(where, MAX_WHERE), trust)

    def in_words(self) -> str:
        """The signal as evidence, in one line."""
        return f"{self.value} ({self.where}, {self.trust})"


def printable(text: str, limit: int) -> str:
    """Text from a file with control, format and half characters escaped, no longer than ``limit`` characters.

    Escaped are also those that turn the direction of text: a reader would see other words.
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "surrogatepass").decode("ascii")
        for letter in text[:limit].strip()
    )
    return shown if len(shown) <= limit and len(text) <= limit else shown[: limit - 1] + _ELLIPSIS


def acting_evidence(signals: Sequence[FileSignal], kinds: Mapping[str, str], action: str) -> str | None:
    """The first signal on which a policy's actions, ``{kind: action}``, act like this, in words; None without one.

    A manifest that does not hold was forged, or is another picture's: no action follows from it.
    """
    found = (one for one in signals if kinds.get(one.kind) == action and one.trust != INVALID)
    return next((one.in_words() for one in found), None)
