"""The gallery: a page with the real photos that score highest and the fakes of each engine that score lowest.

It shows which photos a detector is wrong about. The page is one file and holds small copies of the photos: keep it
where the photos may lie. Names in it come from manifests, which are not trusted: the template escapes them all.
"""

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from trainer.data.manifest import Example
from trainer.errors import Rejected
from trainer.files import atomic_write
from trainer.judging.metrics import Scores
from trainer.pixels.preprocess import upright

#: How many real photos the page shows, and how many fakes of each engine.
REALS, FAKES = 24, 12
#: The longer side of the copies, in pixels, and of heatmaps, which show two pictures side by side.
THUMBNAIL, HEATMAP = 192, 640
_QUALITY = 80
_TEMPLATES = Path(__file__).parent / "templates"

#: Draws the heatmap of a photo; None where there is none.
Heatmap = Callable[[Example], Image.Image | None]


@dataclass(frozen=True, slots=True)
class GalleryPicture:
    """A photo of the page: ``thumbnail`` and ``heatmap`` are data URLs, "" where there is none."""

    name: str
    score: float
    flagged: bool
    thumbnail: str
    heatmap: str


@dataclass(frozen=True, slots=True)
class GallerySection:
    """The photos of one engine, or the real ones, with the most telling first."""

    title: str
    pictures: tuple[GalleryPicture, ...]


def write_gallery(
    path: Path,
    name: str,
    examples: Sequence[Example],
    scores: Scores,
    threshold: float,
    heatmap: Heatmap = lambda _example: None,
) -> None:
    """Write the page on the examples of split "eval"; ``scores`` are (n,), one for each example."""
    held_out = [(e, s) for e, s in zip(examples, scores.tolist(), strict=True) if e.split == "eval"]
    reals = sorted((pair for pair in held_out if not pair[0].fake), key=lambda pair: -pair[1])[:REALS]
    sections = [_section("Real photos with the highest scores", reals, threshold, heatmap)]
    for engine in sorted({example.engine for example, _ in held_out if example.fake}):
        fakes = sorted((p for p in held_out if p[0].fake and p[0].engine == engine), key=lambda pair: pair[1])[:FAKES]
        sections.append(_section(engine, fakes, threshold, heatmap))
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    text = environment.get_template("gallery.html").render(name=name, threshold=threshold, sections=sections)
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", errors="backslashreplace")


def _section(title: str, chosen: Sequence[tuple[Example, float]], threshold: float, heatmap: Heatmap) -> GallerySection:
    return GallerySection(title, tuple(_picture(example, score, threshold, heatmap) for example, score in chosen))


def _picture(example: Example, score: float, threshold: float, heatmap: Heatmap) -> GalleryPicture:
    drawn = heatmap(example)
    return GalleryPicture(
        str(example.path), score, score >= threshold, _thumbnail(example), _data_url(drawn, HEATMAP) if drawn else ""
    )


def _thumbnail(example: Example) -> str:
    try:
        return _data_url(upright(example.path.read_bytes()), THUMBNAIL)
    except (OSError, Rejected):  # it came from the cache, and its file is gone: its score counts all the same
        return ""


def _data_url(image: Image.Image, side: int) -> str:
    small = image.convert("RGB")
    small.thumbnail((side, side))
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"
