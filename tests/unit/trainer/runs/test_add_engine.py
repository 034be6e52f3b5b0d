"""A new engine from a handful of pictures: the head finds it, the forecast is honest, no training photo is needed."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.data.manifest import Example
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.model import Detector, Head
from trainer.distributed.ranks import Ranks
from trainer.errors import CheckpointError, ManifestError
from trainer.fitting.embedded import EmbeddedExamples
from trainer.fitting.head import score_rows
from trainer.fitting.loop import Recipe
from trainer.fitting.support import VIEW, Support, read_support, support_path
from trainer.runs.add_engine import Refitting, add_engine

LINEAR = Recipe(widths=(), l2=0.01)
SIZE = 1280


def rows(engine: str, count: int, place: int, size: int = 8, source: str = "") -> EmbeddedExamples:
    """Rows of one engine, away from others in one feature; "camera" is real, of four sites."""
    random = np.random.default_rng(place)
    embeddings = random.normal(0, 1, (count, size)).astype(np.float32)
    embeddings[:, place] += 6 * (engine != "camera")
    examples = [
        Example(
            Path(), engine != "camera", engine, "train", f"{engine}{n}", columns={"source": source or f"site {n % 4}"}
        )
        for n in range(count)
    ]
    return EmbeddedExamples(examples, embeddings)


def test_a_handful_of_pictures_is_found_and_the_forecast_says_so(tmp_path: Path) -> None:
    known = rows("camera", 800, 0) + rows("Old", 100, 1, source="old")
    new = rows("New", 12, 2, source="engine add New")
    refitting = Refitting(known, new, LINEAR, Ranks(0, 1, torch.device("cpu")), tmp_path)

    forecast = refitting.forecast()
    head = refitting.head(known + new)

    unseen = rows("New", 200, 2).embeddings
    assert forecast.found_before < 0.5 < forecast.found
    assert 0.5 < forecast.known <= forecast.known_before
    assert len(forecast.reals) == 800
    assert float(np.mean(score_rows(head, unseen) >= np.quantile(forecast.reals, 0.995))) > 0.5


def test_views_of_a_picture_are_never_judged_beside_it(tmp_path: Path) -> None:
    known = rows("camera", 40, 0) + rows("Old", 40, 1, source="old")
    new = rows("New", 8, 2, source="engine add New")
    seen = EmbeddedExamples(
        [replace(e, columns=e.columns | {VIEW: "upload:0:1"}) for e in new.examples], new.embeddings
    )

    forecast = Refitting(known, new + seen, LINEAR, Ranks(0, 1, torch.device("cpu")), tmp_path).forecast()

    assert forecast.examples == 8


class TestSupport:
    def test_it_gives_the_rows_back_to_a_share_of_their_deviation(self, tmp_path: Path) -> None:
        data = rows("camera", 50, 0) + rows("Old", 50, 1, source="old")
        Support(data, "a" * 64).write(tmp_path / "c.safetensors")

        found = read_support(tmp_path / "c.safetensors", "a" * 64).rows

        assert np.abs(found.embeddings - data.embeddings).max() < 0.1 * data.embeddings.std(axis=0).max()
        assert [(e.fake, e.engine, e.source) for e in found.examples] == [
            (e.fake, e.engine, e.source) for e in data.examples
        ]

    def test_without_it_a_refit_is_refused_with_what_to_do(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"has no c.support beside it, .*: copy it .* or fit again"):
            read_support(tmp_path / "c.safetensors", "a" * 64)

    def test_that_of_another_backbone_and_a_broken_one_are_refused(self, tmp_path: Path) -> None:
        path = tmp_path / "c.safetensors"
        Support(rows("camera", 5, 0), "a" * 64).write(path)

        with pytest.raises(CheckpointError, match="embeddings come from another backbone"):
            read_support(path, "b" * 64)

        support_path(path).write_bytes(b"no support")
        with pytest.raises(CheckpointError, match="is not a readable support file"):
            read_support(path, "a" * 64)


class TestTheWholeCommand:
    @pytest.fixture
    def fitted(self, small: Detector, card: Card, tmp_path: Path) -> Path:
        """A linear head on Lite1, and what it was fitted on."""
        head = card.head.model_copy(update={"hidden": 0, "widths": (), "parameters": SIZE + 1})
        training = card.training.model_copy(update={"l2": 0.01, "optimizer": "l-bfgs"})
        detector = Detector(small.backbone, Head(SIZE, ()), card.backbone.mean, card.backbone.std).eval()
        path = tmp_path / "c.safetensors"
        checkpoint.save(detector, card.model_copy(update={"head": head, "training": training}), path)
        known = rows("camera", 40, 0, SIZE) + rows("Old", 20, 1, SIZE, "old")
        Support(known, card.backbone.sha256).write(path)
        return path

    @staticmethod
    def pictures(folder: Path, count: int) -> Path:
        folder.mkdir()
        for number in range(count):
            noise = np.random.default_rng(number).integers(0, 256, (32, 32, 3))
            Image.fromarray(noise.astype(np.uint8)).save(folder / f"{number}.png")
        return folder

    def test_it_writes_a_checkpoint_that_serves_and_takes_the_next_engine(self, fitted: Path, tmp_path: Path) -> None:
        out = tmp_path / "new" / "n.safetensors"

        added = add_engine("New", self.pictures(tmp_path / "faces", 5), fitted, out, tmp_path / "cache", "cpu")

        _, card = checkpoint.load(out)
        assert (added.engine, added.examples) == ("New", 5)
        assert card.added == (added,)
        assert card.data.counts["train"]["New"] == 5
        assert card.reference is not None
        assert len(card.reference.scores) == 40
        again = read_support(out, card.backbone.sha256)
        assert len(again.rows.examples) == 65

        with pytest.raises(ManifestError, match="engine 'New' is among those"):
            add_engine("New", tmp_path / "faces", out, tmp_path / "again.safetensors", tmp_path / "cache", "cpu")

    def test_four_pictures_are_too_few(self, fitted: Path, tmp_path: Path) -> None:
        faces = self.pictures(tmp_path / "faces", 4)

        with pytest.raises(ManifestError, match=r"has 4 pictures .*fewer than 5"):
            add_engine("New", faces, fitted, tmp_path / "n.safetensors", tmp_path / "cache", "cpu")
