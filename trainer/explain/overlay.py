"""Draws an attribution map over its photo, in colours that colour-blind people can distinguish."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from trainer.explain.attribution import Map
from trainer.pixels.preprocess import SIZE, Pixels

#: Colours of evidence for "AI" and for "real", after Okabe and Ito.
AI, REAL = (255, 140, 0), (40, 150, 255)
#: Standard deviation of the smoothing, in pixels: neighbouring pixels' shares alternate in sign.
BLUR_PIXELS = 12.0
#: Evidence at this percentile of the picture's own or above is drawn in full colour.
CLIP_PERCENTILE = 99.0
#: The opacity of the strongest evidence, how fast weaker evidence fades, and the two greys between which the photo is
#: drawn, so that evidence shows on black cloth and white walls too.
OPACITY, FADE, GREYS = 0.9, 1.5, (45, 200)
#: Width of the white gap between the two pictures, in pixels.
GAP_PIXELS = 8
#: Height of the legend, of its letters and its margins, in pixels.
LEGEND_PIXELS, _FONT_PIXELS, _MARGIN = 40, 18, 12


def overlay(pixels: Pixels, attribution: Map) -> Image.Image:
    """The photo, and beside it the same in dim grey with the evidence on it: orange for "AI", blue for "real".

    Colours are relative to the picture's own strongest evidence: they show where it is; only the score shows how much.
    """
    strength = _strength(attribution)
    light = np.asarray(Image.fromarray(pixels).convert("L"))[..., None]
    grey = GREYS[0] + light * ((GREYS[1] - GREYS[0]) / 255)
    gap = np.full((SIZE, GAP_PIXELS, 3), 255, dtype=np.uint8)
    return Image.fromarray(np.hstack([pixels, gap, _coloured(grey, strength)]))


def with_legend(drawn: Image.Image, score: float) -> Image.Image:
    """The picture of `overlay` with a strip below it that says what the colours mean, and the score."""
    whole = Image.new("RGB", (drawn.width, drawn.height + LEGEND_PIXELS), "white")
    whole.paste(drawn, (0, 0))
    draw, font = ImageDraw.Draw(whole), ImageFont.load_default(_FONT_PIXELS)
    middle, left = drawn.height + LEGEND_PIXELS // 2, drawn.width - SIZE
    draw.text((_MARGIN, middle), f"Score {score:.4f} (0 real, 1 AI-generated)", "black", font, anchor="lm")
    draw.text((left + _MARGIN, middle), "real", "black", font, anchor="lm")
    draw.text((drawn.width - _MARGIN, middle), "AI-generated", "black", font, anchor="rm")
    start = left + _MARGIN + int(font.getlength("real "))
    end = drawn.width - _MARGIN - int(font.getlength("AI-generated "))
    bar = Image.fromarray(_colour_bar(end - start, LEGEND_PIXELS // 2))
    whole.paste(bar, (start, middle - bar.height // 2))
    return whole


def _colour_bar(width: int, height: int) -> Pixels:
    """(height, width, 3): from the strongest evidence for "real" over none to the strongest for "AI"."""
    strength = np.tile(np.linspace(-1, 1, width)[:, None], (height, 1, 1))
    return _coloured(np.full((height, width, 1), sum(GREYS) / 2), strength)


def _coloured(grey: NDArray[np.float64], strength: NDArray[np.float64]) -> Pixels:
    colour = np.where(strength > 0, AI, REAL)
    opacity = OPACITY * np.abs(strength) ** FADE
    return (grey * (1 - opacity) + colour * opacity).round().astype(np.uint8)


def layer(attribution: Map) -> Image.Image:
    """The evidence alone on a transparent square, to lie over the photo whatever its shape; colours as in `overlay`."""
    strength = _strength(attribution)
    colour = np.where(strength > 0, AI, REAL)
    opacity = 255 * OPACITY * np.abs(strength) ** FADE
    return Image.fromarray(np.concatenate([colour, opacity], axis=2).round().astype(np.uint8), "RGBA")


def _strength(attribution: Map) -> NDArray[np.float64]:
    """Smoothed shares in -1..1, (512, 512, 1)."""
    smooth = _smooth(attribution)
    full = float(np.percentile(np.abs(smooth), CLIP_PERCENTILE))
    strength: NDArray[np.float64] = np.clip(smooth / (full or 1.0), -1, 1)[..., None]
    return strength


def _smooth(attribution: Map) -> NDArray[np.float64]:
    """A Gaussian along rows and columns, normalised at the borders."""
    place = np.arange(SIZE)
    weights = np.exp(-((place[:, None] - place) ** 2) / (2 * BLUR_PIXELS**2))
    weights /= weights.sum(axis=1, keepdims=True)
    smooth: NDArray[np.float64] = weights @ attribution.astype(np.float64) @ weights.T
    return smooth
