"""The pictures by which early stopping is judged: whole groups of the split that is trained on, and none of "eval"."""

import hashlib
from collections.abc import Sequence

from trainer.errors import ManifestError
from trainer.data.manifest import Example

#: Of the groups, when somebody watches the validation loss.
SHARE = 0.1


def hold_out(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """Those that are trained on, and those that are watched; a group's name alone says where it belongs.

    Raises `ManifestError` when one of the two would hold only real or only fake pictures.
    """
    watched = [example for example in examples if _draw(example.group) < SHARE]
    kept = [example for example in examples if _draw(example.group) >= SHARE]
    for part in (kept, watched):
        if {example.fake for example in part} != {True, False}:
            groups = len({example.group for example in examples})
            raise ManifestError(
                f"--patience holds out one in {1 / SHARE:.0f} of {groups} groups: too few for real and fake pictures"
            )
    return kept, watched


def _draw(group: str) -> float:
    """A number from 0 to 1 that a group keeps."""
    return int.from_bytes(hashlib.sha256(group.encode()).digest()[:8]) / 2**64
