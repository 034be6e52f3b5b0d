"""The sweep: every degradation judged at the kept threshold and at the refitted one, on pictures drawn once for all."""

import hashlib
import json
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from db.stats.empirical_fpr import few_reals
from trainer.data.manifest import Example
from trainer.data.shortcut_guard import ShortcutOptions
from trainer.detector import checkpoint
from trainer.detector.card import Card
from trainer.detector.model import Detector, Head
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError
from trainer.fitting.embed import Embedder
from trainer.judging.results import Robustness
from trainer.pixels.preprocess import decode
from trainer.pixels.views import apply_view, normalise
from trainer.runs.robustness import (
    QUALITIES,
    RESOLUTIONS,
    check_examples,
    degradations,
    faces,
    robustness_files,
    subset,
    sweep,
)

HERE = Ranks(0, 1, torch.device("cpu"))


class Detail(nn.Module):
    """A backbone that sees one thing: how much neighbouring pixels differ."""

    def forward(self, images: Tensor) -> Tensor:
        return images.diff(dim=3).abs().mean(dim=(1, 2, 3))[:, None]


def detail_detector() -> Detector:
    """Scores grow with detail, and with nothing else."""
    head = Head(1, 1)
    for name, parameter in head.named_parameters():
        nn.init.constant_(parameter, 0.0 if name.endswith("bias") else 1.0)
    return Detector(Detail(), head, (0.0, 0.0, 0.0), (1 / 32, 1 / 32, 1 / 32)).eval()


def noisy(path: Path, strength: int, *, fake: bool, engine: str) -> Example:
    """A picture with so much detail, as an example of split eval."""
    generator = np.random.default_rng(strength)
    pixels = 128 + generator.integers(-strength, strength + 1, (96, 96, 3))
    Image.fromarray(pixels.astype(np.uint8)).save(path)
    return Example(path, fake, engine, "eval", path.name, hashlib.sha256(path.read_bytes()).hexdigest())


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> list[Example]:
    """Reals with little detail, the fakes of one engine with more, those of another with most."""
    folder = tmp_path_factory.mktemp("faces")
    made = [("camera", 10), ("camera", 12), ("weak", 30), ("weak", 32), ("strong", 100)]
    return [noisy(folder / f"{name}{n}.png", n, fake=name != "camera", engine=name) for name, n in made]


@pytest.fixture(scope="module")
def found(examples: list[Example], tmp_path_factory: pytest.TempPathFactory) -> Robustness:
    """A sweep at a target that two reals can show: one of them may be flagged."""
    folder = tmp_path_factory.mktemp("sweep")
    detector = detail_detector()
    embedder = Embedder(detector, folder / "cache", HERE)
    return sweep(detector, examples, embedder, folder / "scratch.npy", 0.5, (96, 24), (90, 20))


class TestSweep:
    def test_by_default_it_has_the_papers_levels(self) -> None:
        assert list(degradations(RESOLUTIONS, QUALITIES)) == [
            ("native", 0),
            *(("resize", side) for side in (512, 256, 128, 64, 32)),
            *(("jpeg", quality) for quality in (100, 80, 60, 40, 20)),
            ("mirror", 0),
            ("flip", 0),
        ]

    def test_there_is_a_row_for_each_step_and_engine_and_for_all_together(self, found: Robustness) -> None:
        expected = [
            (kind, level, engine)
            for kind, level in degradations((96, 24), (90, 20))
            for engine in ("all", "strong", "weak")
        ]

        assert [(row.kind, row.level, row.engine) for row in found.rows] == expected
        assert {row.engine: row.n for row in found.rows} == {"all": 3, "strong": 1, "weak": 2}

    def test_lost_detail_is_a_lost_signal_at_the_kept_threshold_and_found_at_the_refitted_one(
        self, found: Robustness
    ) -> None:
        last = {row.engine: row for row in found.rows if (row.kind, row.level) == ("resize", 24)}

        assert (last["weak"].tpr, last["weak"].fpr) == (0, 0)
        assert last["weak"].refitted_tpr == last["all"].refitted_tpr == 1

    def test_undegraded_the_kept_threshold_is_the_refitted_one_and_keeps_to_the_target(self, found: Robustness) -> None:
        rows = [row for row in found.rows if row.kind == "native"]

        assert all(row.tpr == row.refitted_tpr == 1 for row in rows)
        assert {row.fpr for row in rows} == {0.5} == {found.target_fpr}

    def test_what_changes_no_detail_changes_nothing(self, found: Robustness) -> None:
        native, mirrored, upside_down, unscaled = (
            [(row.tpr, row.fpr, row.refitted_tpr) for row in found.rows if (row.kind, row.level) == step]
            for step in (("native", 0), ("mirror", 0), ("flip", 0), ("resize", 96))
        )

        assert native == mirrored == upside_down == unscaled

    def test_all_engines_together_are_counted_picture_by_picture(self, found: Robustness) -> None:
        for step in degradations((96, 24), (90, 20)):
            rows = {row.engine: row for row in found.rows if (row.kind, row.level) == step}
            assert rows["all"].tpr == pytest.approx((rows["strong"].tpr + 2 * rows["weak"].tpr) / 3)

    def test_normalised_it_is_that_of_pictures_that_were_normalised_before(
        self, examples: list[Example], tmp_path: Path
    ) -> None:
        before = []
        for number, example in enumerate(examples):
            path = tmp_path / f"{number}.jpg"
            path.write_bytes(normalise(example.path.read_bytes()))
            before.append(replace(example, path=path, sha256=hashlib.sha256(path.read_bytes()).hexdigest()))
        embedder = Embedder(detail_detector(), tmp_path / "cache", HERE)
        shared = (embedder, tmp_path / "scratch.npy", 0.5, (96,), (20,))

        found = sweep(detail_detector(), examples, *shared, intake=ShortcutOptions(normalise=True))

        assert found.rows == sweep(detail_detector(), before, *shared).rows
        assert found.threshold != sweep(detail_detector(), examples, *shared).threshold

    def test_it_is_the_same_again_from_the_cache(self, examples: list[Example], tmp_path: Path) -> None:
        detector = detail_detector()
        embedder = Embedder(detector, tmp_path / "cache", HERE)

        first, again = (sweep(detector, examples, embedder, tmp_path / "s.npy", 0.5, (24,), ()) for _ in range(2))

        assert first == again


class TestSubset:
    @pytest.fixture
    def many(self) -> list[Example]:
        sizes = {"camera": 40, "stylegan2": 30, "rare": 3}
        return [
            Example(Path(f"{name}{i}"), name != "camera", name, "eval", f"{name}{i}", f"{name}{i}")
            for name, size in sizes.items()
            for i in range(size)
        ]

    def test_it_has_so_many_of_each_kind_in_their_order(self, many: list[Example]) -> None:
        chosen = subset(many, 10)

        counts = {name: sum(one.engine == name for one in chosen) for name in ("camera", "stylegan2", "rare")}
        assert counts == {"camera": 10, "stylegan2": 10, "rare": 3}
        assert chosen == [example for example in many if example in chosen]
        assert chosen[:10] != many[:10]

    def test_the_same_pictures_are_drawn_in_any_order_and_a_smaller_limit_draws_from_them(
        self, many: list[Example]
    ) -> None:
        shuffled = random.Random(0).sample(many, len(many))  # noqa: S311 - no secret

        assert {one.path for one in subset(shuffled, 10)} == {one.path for one in subset(many, 10)}
        assert {one.path for one in subset(many, 5)} < {one.path for one in subset(many, 10)}

    def test_reals_of_several_cameras_are_one_kind(self, many: list[Example]) -> None:
        more = [Example(Path(f"p{i}"), False, "phone", "eval", f"p{i}", f"p{i}") for i in range(40)]  # noqa: FBT003

        assert sum(not one.fake for one in subset([*many, *more], 10)) == 10

    def test_without_a_limit_everything_is_taken(self, many: list[Example]) -> None:
        assert subset(many, None) == many


class TestFaces:
    def test_only_fakes_can_be_no_faces_as_in_an_evaluation(self) -> None:
        kinds = [(fake, content) for fake in (False, True) for content in ("", "face", "nonface")]
        made = [
            Example(Path(f"{n}"), fake, "e", "eval", f"{n}", f"{n}", {"content": content})
            for n, (fake, content) in enumerate(kinds)
        ]

        assert faces(made) == made[:5]


class TestTooLittle:
    def test_too_few_reals_are_warned_of_in_the_words_of_an_evaluation(
        self, found: Robustness, examples: list[Example], tmp_path: Path
    ) -> None:
        embedder = Embedder(detail_detector(), tmp_path / "cache", HERE)
        few = sweep(detail_detector(), examples, embedder, tmp_path / "s.npy", 0.005, (), ())

        assert few.warning == few_reals(2, 0.005)
        assert few.warning == "2 reals are too few to show an FPR of 0.005, which takes 600: they can show 1 at best"
        assert [row.fpr for row in few.rows if row.kind == "native"] == [0.0, 0.0, 0.0]
        assert found.warning == few_reals(2, 0.5)

    def test_without_reals_there_is_no_threshold(self, examples: list[Example]) -> None:
        with pytest.raises(ManifestError, match="needs real photos in split eval, but there are none"):
            check_examples(examples[2:])

    def test_without_fakes_there_is_nothing_to_judge(self, examples: list[Example]) -> None:
        with pytest.raises(ManifestError, match="needs AI-generated pictures in split eval"):
            check_examples(examples[:2])


class TestFiles:
    @pytest.fixture
    def manifest(self, tmp_path: Path, examples: list[Example]) -> Path:
        """Two reals, and of three fakes the two of one engine."""
        rows = [f"{one.path},{'fake' if one.fake else 'real'},{one.engine},eval" for one in examples[:4]]
        path = tmp_path / "faces.csv"
        path.write_text("path,label,engine,split\n" + "\n".join(rows) + "\n")
        return path

    def test_a_checkpoint_on_lite1_is_swept_into_a_file(
        self, manifest: Path, small: Detector, card: Card, tmp_path: Path
    ) -> None:
        sha256 = checkpoint.save(small, card, tmp_path / "c.safetensors")

        found = robustness_files(
            tmp_path / "c.safetensors",
            manifest,
            tmp_path / "out",
            0.5,
            tmp_path / "cache",
            "cpu",
            limit=2,
            resolutions=(32,),
            qualities=(20,),
        )

        written = tmp_path / "out" / "robustness.json"
        assert Robustness.read(written) == found
        assert (found.checkpoint, found.checkpoint_sha256) == ("small", sha256)
        assert (found.reals, found.limit, found.split, len(found.rows)) == (2, 2, "eval", 10)
        assert found.manifest_sha256 == hashlib.sha256(manifest.read_bytes()).hexdigest()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["robustness.json"]
        assert json.loads(written.read_text())["rows"][0]["kind"] == "native"

    def test_what_engines_made_that_is_no_face_is_left_out_before_any_is_drawn(
        self, manifest: Path, small: Detector, card: Card, tmp_path: Path
    ) -> None:
        header, *rows = manifest.read_text().splitlines()
        table = [f"{header},content", *(f"{row},{'non-face' if 'weak' in row else ''}" for row in rows)]
        manifest.write_text("\n".join(table) + "\n")
        checkpoint.save(small, card, tmp_path / "c.safetensors")

        with pytest.raises(ManifestError, match="needs AI-generated pictures in split eval"):
            robustness_files(tmp_path / "c.safetensors", manifest, tmp_path, 0.5, tmp_path / "cache", "cpu")


@pytest.mark.parametrize(
    ("view", "same"),
    [("resize:64", False), ("jpeg:20", False), ("mirror:0", False), ("resize:96", True)],
)
def test_degraded_pictures_are_other_pictures_to_the_detector(view: str, same: bool, examples: list[Example]) -> None:
    example = examples[-1]
    data = example.path.read_bytes()

    assert np.array_equal(decode(apply_view(view, data, example.sha256)).pixels, decode(data).pixels) is same
