"""Drawn portraits for screenshots: nobody's face, the same for the same number."""

import io
import random

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SKIN = ("#f1c9a5", "#e0ac7e", "#c68642", "#8d5524", "#5c3a21", "#f6d7bd")
HAIR = ("#2b1d14", "#5a3a22", "#a8763e", "#d8c08a", "#3a3a40", "#7c2f1d")
CLOTH = ("#33506b", "#6b3f4d", "#3f6b52", "#6b6133", "#4a3f6b", "#2f3640")
BACK = (("#b9cbd6", "#74899a"), ("#d9cdbb", "#9c8a70"), ("#c3cfbd", "#7c8f76"), ("#cfc3d6", "#857796"))
WIDTH, HEIGHT = 1200, 1500


def portrait(number: int) -> Image.Image:
    """A drawn person before a plain wall, 1200×1500 pixels."""
    chance = random.Random(number)  # noqa: S311 - a drawing
    picture = _wall(*chance.choice(BACK))
    draw = ImageDraw.Draw(picture)
    skin, hair, cloth = chance.choice(SKIN), chance.choice(HAIR), chance.choice(CLOTH)
    wide, long = chance.randint(225, 265), chance.randint(310, 345)
    x, y = WIDTH // 2 + chance.randint(-30, 30), 610 + chance.randint(-20, 20)
    locks = chance.choice((0, 180, 420))
    draw.ellipse((x - wide - 55, y - long - 75, x + wide + 55, y + 120 + locks), fill=hair)
    draw.ellipse((x - 470, y + 420, x + 470, y + 1400), fill=cloth)
    draw.rounded_rectangle((x - 105, y + 150, x + 105, y + 520), 90, fill=_mixed(skin, "#000000", 0.16))
    draw.ellipse((x - wide - 28, y - 60, x - wide + 40, y + 90), fill=_mixed(skin, "#000000", 0.08))
    draw.ellipse((x + wide - 40, y - 60, x + wide + 28, y + 90), fill=_mixed(skin, "#000000", 0.12))
    draw.ellipse((x - wide, y - long, x + wide, y + long), fill=skin)
    draw.chord((x - wide - 8, y - long - 20, x + wide + 8, y + 90), 186 - chance.randint(0, 14), 354, fill=hair)
    _features(draw, x, y, skin, hair, chance)
    return _photographed(picture, number)


def _features(draw: ImageDraw.ImageDraw, x: int, y: int, skin: str, hair: str, chance: random.Random) -> None:
    iris = chance.choice(("#4a3524", "#3d5a73", "#4d6445"))
    for side in (-1, 1):
        at = x + side * 98
        draw.ellipse((at - 50, y - 48, at + 50, y + 14), fill="#f7f4ef")
        draw.ellipse((at - 27, y - 46, at + 27, y + 10), fill=iris)
        draw.ellipse((at - 12, y - 31, at + 12, y - 5), fill="#101010")
        draw.ellipse((at + 2, y - 30, at + 12, y - 20), fill="#ffffff")
        draw.arc((at - 66, y - 112, at + 66, y - 30), 205, 335, fill=hair, width=15)
    dark = _mixed(skin, "#000000", 0.2)
    draw.line((x - 8, y - 10, x - 30, y + 92, x + 22, y + 98), fill=dark, width=9, joint="curve")
    lips = _mixed(skin, "#8a1f2b", 0.5)
    draw.chord((x - 88, y + 128, x + 88, y + 216), 8, 172, fill=lips)
    draw.line((x - 88, y + 178, x + 88, y + 178), fill=_mixed(lips, "#000000", 0.35), width=6)


def _wall(light: str, dark: str) -> Image.Image:
    slope = (
        Image.radial_gradient("L")
        .resize((2 * WIDTH, 2 * HEIGHT))
        .crop((WIDTH // 3, HEIGHT // 3, 4 * WIDTH // 3, 4 * HEIGHT // 3))
    )
    return Image.composite(Image.new("RGB", slope.size, dark), Image.new("RGB", slope.size, light), slope)


def _photographed(picture: Image.Image, number: int) -> Image.Image:
    """Soft edges, light from one side, and grain."""
    soft = np.asarray(picture.filter(ImageFilter.GaussianBlur(5)), dtype=np.float32)
    light = np.linspace(1.1, 0.78, WIDTH, dtype=np.float32)[None, :, None]
    grain = np.random.default_rng(number).normal(0, 1.5, (HEIGHT, WIDTH, 1)).astype(np.float32)
    return Image.fromarray((soft * light + grain).clip(0, 255).astype(np.uint8))


def _mixed(one: str, other: str, share: float) -> str:
    pairs = zip(_parts(one), _parts(other), strict=True)
    return "#" + "".join(f"{round(a * (1 - share) + b * share):02x}" for a, b in pairs)


def _parts(colour: str) -> tuple[int, ...]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def jpeg(picture: Image.Image, side: int = 4096) -> bytes:
    """As a JPEG of at most ``side`` pixels each way."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=90)
    return out.getvalue()


def heatmap() -> bytes:
    """What a worker makes of an attribution map: evidence on a transparent square."""
    down, across = np.mgrid[0:512, 0:512]
    strength = np.zeros((512, 512))
    for x, y, size, sign in ((215, 200, 42, 1), (300, 205, 36, 0.8), (256, 285, 46, 0.7), (110, 400, 70, -0.6)):
        strength += sign * np.exp(-((across - x) ** 2 + (down - y) ** 2) / (2 * size**2))
    colour = np.where(strength[..., None] > 0, (255, 140, 0), (40, 150, 255))
    opacity = (190 * np.clip(np.abs(strength), 0, 1) ** 1.5)[..., None]
    out = io.BytesIO()
    Image.fromarray(np.concatenate([colour, opacity], axis=2).astype(np.uint8), "RGBA").save(out, "PNG")
    return out.getvalue()
