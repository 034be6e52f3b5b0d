"""Deterministic draws. The trainer and the console share this definition, so a name is drawn alike in both."""

import hashlib


def hash_fraction(key: bytes) -> float:
    """A number in [0, 1) that depends on ``key`` alone: the first 53 bits of its SHA-256, as a fraction.

    Uniform over keys. ``hash_fraction(key) < share`` draws about ``share`` of the keys, and draws the same keys on
    every machine, in any order, and whatever other keys there are. Two draws by the same key are one draw: put the
    purpose into the key (``b"validation NAME"``) where another draw may have sorted the same names before.
    """
    return (int.from_bytes(hashlib.sha256(key).digest()[:8]) >> 11) / 2**53
