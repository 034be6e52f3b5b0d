"""A map of evidence as people see it: over the photo, in colours that colour-blind people tell apart."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.explain.attribution import Map
from trainer.pixels.preprocess import SIZE, Pixels

#: Colours of evidence for "AI" and for "real", which colour-blind people tell apart (after Okabe and Ito).
AI, REAL = (255, 140, 0), (40, 150, 255)
#: Width of the smoothing of overlays, in pixels: neighbouring pixels' shares alternate in sign.
BLUR_PIXELS = 12.0
#: Evidence as strong as this percentile of the picture's own is drawn in full colour.
CLIP_PERCENTILE = 99.0
#: How much of the grey photo the strongest evidence covers, how fast weaker evidence fades, and the two greys between
#: which the photo is drawn: evidence shows on black cloth and white walls, too.
OPACITY, FADE, GREYS = 0.9, 1.5, (45, 200)
#: Width of the white between the two pictures.
GAP_PIXELS = 8


def overlay(pixels: Pixels, attribution: Map) -> Image.Image:
    """The photo, and beside it the same in dim grey with the evidence on it: orange for "AI", blue for "real".

    Colours are relative to the picture's own strongest evidence: they say where, and only the score says how much.
    """
    strength = _strength(attribution)
    light = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    grey = GREYS[0] + light * ((GREYS[1] - GREYS[0]) / 255)
    colour = np.where(strength > 0, AI, REAL)
    opacity = OPACITY * np.abs(strength) ** FADE
    evidence = (grey * (1 - opacity) + colour * opacity).round().astype(np.uint8)
    gap = np.full((SIZE, GAP_PIXELS, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.hstack([pixels, gap, evidence]))


def _strength(attribution: Map) -> NDArray[np.float64]:
    """Smoothed shares in -1..1, (512, 512, 1)."""
    smooth = _smooth(attribution)
    full = float(np.percentile(np.abs(smooth), CLIP_PERCENTILE))
    strength: NDArray[np.float64] = np.clip(smooth / (full or 1.0), -1, 1)[..., None]
    return strength


def _smooth(attribution: Map) -> NDArray[np.float64]:
    """A Gaussian along rows and columns; at the borders over what is there."""
    place = np.arange(SIZE)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * BLUR_PIXELS**2))
    weights /= weights.sum(axis=1, keepdims=True)
    smooth: NDArray[np.float64] = weights @ attribution.astype(np.float64) @ weights.T
    return smooth
