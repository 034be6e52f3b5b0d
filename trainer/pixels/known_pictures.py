"""The generated pictures of self-tests."""

import numpy as np

from trainer.pixels.preprocess import SIZE, Pixels


def known_pictures() -> list[Pixels]:
    """Three generated pictures, the same on every machine: a ramp, noise, and noise without its fine grain."""
    noise = np.random.default_rng(0).integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8)
    ramp = np.linspace(0, 255, SIZE, dtype=np.uint8)
    grain = SIZE // 8
    return [
        np.stack([np.broadcast_to(ramp, (SIZE, SIZE)), np.broadcast_to(ramp[:, None], (SIZE, SIZE))] * 2, axis=2)[
            :, :, :3
        ],
        noise,
        noise[:grain, :grain].repeat(8, axis=0).repeat(8, axis=1),
    ]
