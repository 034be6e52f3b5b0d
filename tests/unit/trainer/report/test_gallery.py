"""The gallery: what a detector is most wrong about comes first, and names in it do no harm."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.data.manifest import Example
from trainer.report import gallery
from trainer.report.gallery import write_gallery

HOSTILE = "<script>alert('x')</script>"
SCORES = np.array([0.1, 0.9, 0.5, 0.7, 0.2, 0.99, 0.3, 0.0])


@pytest.fixture
def examples(tmp_path: Path) -> list[Example]:
    """Three reals and two fakes of each of two engines, all held out, and one that was trained on."""
    kinds = [("camera", "eval")] * 3 + [("sd", "eval")] * 2 + [(HOSTILE, "eval")] * 2 + [("sd", "train")]
    made = []
    for number, (engine, split) in enumerate(kinds):
        path = tmp_path / f"{number}.png"
        Image.new("RGB", (64, 48), (30 * number, 0, 0)).save(path)
        made.append(Example(path, engine != "camera", engine, split, str(number)))
    return made


def page(folder: Path, examples: list[Example], heatmap: gallery.Heatmap = lambda _example: None) -> str:
    write_gallery(folder / "gallery.html", HOSTILE, examples, SCORES, 0.6, heatmap)
    return (folder / "gallery.html").read_text()


def test_the_most_telling_come_first(examples: list[Example], tmp_path: Path) -> None:
    text = page(tmp_path, examples)

    shown = [int(part.split(".png")[0].rsplit("/", 1)[1]) for part in text.split('class="name"><bdi>')[1:]]
    assert shown == [1, 2, 0, 6, 5, 4, 3], "reals from the top; of each engine, by name, fakes from the bottom"
    assert text.count("(wrong)") == 3, "a flagged real and two fakes that were not"


def test_only_so_many_are_shown(examples: list[Example], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "REALS", 1)
    monkeypatch.setattr(gallery, "FAKES", 1)

    assert page(tmp_path, examples).count("<figure>") == 3


def test_names_are_shown_and_never_read(examples: list[Example], tmp_path: Path) -> None:
    text = page(tmp_path, examples)

    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "http" not in text.replace("http-equiv", "")


def test_a_heatmap_opens_below_its_photo(examples: list[Example], tmp_path: Path) -> None:
    drawn = Image.new("RGB", (9, 9))

    assert page(tmp_path, examples, lambda one: drawn if one.path.stem == "1" else None).count("<details>") == 1


def test_a_photo_whose_file_is_gone_leaves_its_score(examples: list[Example], tmp_path: Path) -> None:
    examples[1].path.unlink()

    text = page(tmp_path, examples)

    assert text.count("the file is gone") == 1
    assert "0.9000" in text
