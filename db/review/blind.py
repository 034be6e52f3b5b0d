"""Which cases a person is shown without scores and heatmaps: chance that stays the same however often they look."""

import hashlib

_RANGE = 2**64


def shown_blind(case_id: int, reviewer: str, share: float) -> bool:
    """Whether this case is among the ``share`` that this reviewer sees blind."""
    digest = hashlib.sha256(f"{case_id} {reviewer}".encode()).digest()
    return int.from_bytes(digest[:8]) < share * _RANGE
