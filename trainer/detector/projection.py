"""A few small numbers for each photo, by which photos that a detector sees alike lie near each other.

A random projection keeps distances (Johnson and Lindenstrauss 1984), and its matrix may be of signs alone (Achlioptas,
"Database-friendly random projections", JCSS 66, 2003, theorem 1.1). The signs are the bits of a hash, so that they are
the same on every machine and in every release of every library.
"""

import hashlib

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

#: Numbers of one photo; each is kept in 8 bits. 32 found engines a day or more later (deploy/STATISTICS.md).
SIZE = 64
#: Of standardised features a number has a deviation of about 1: 8 bits reach from -4 to 4.
_LEVELS, _MOST = 32, 127
#: Other signs need another name here, and all that is kept of the old ones must go.
_SEED = b"unmask projection 1"


class Projection(nn.Module):
    """(B, D) standardised features → (B, `SIZE`) numbers; no parameter of it is trained or stored."""

    signs: Tensor

    def __init__(self, features: int) -> None:
        super().__init__()
        bits = np.frombuffer(hashlib.shake_256(_SEED).digest(features * SIZE // 8), np.uint8)
        signs = 2 * np.unpackbits(bits).reshape(features, SIZE).astype(np.float32) - 1
        self.register_buffer("signs", torch.from_numpy(signs / np.float32(np.sqrt(features))), persistent=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) → (B, `SIZE`)."""
        return features.float() @ self.signs


def levels_of(projections: NDArray[np.float32]) -> NDArray[np.int8]:
    """Numbers as signed bytes, in the same shape; what lies outside of -4 to 4 is cut off."""
    return np.rint(np.nan_to_num(projections * _LEVELS)).clip(-_MOST, _MOST).astype(np.int8)
