"""What a checkpoint says of itself: the same words back, and every wrong field by name."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from trainer.detector.card import FORMAT, KEY, Card
from trainer.detector.card_results import EngineMetrics, Quality, Reference
from trainer.errors import CheckpointError


@pytest.fixture
def full(card: Card) -> Card:
    """A card with everything on it."""
    engine = EngineMetrics(in_training=True, fakes=10, reals=200, auc=0.99, tpr=0.9, f1=0.94)
    quality = Quality(
        split="eval",
        target_fpr=0.005,
        threshold=1 / 3,
        measured_fpr=0.005,
        reals=200,
        engines={"StyleGAN 1": engine},
    )
    reference = Reference(name="eval reals", scores=(0.0, 1e-7, 0.5))
    return card.model_copy(update={"quality": quality, "reference": reference, "name": "Größe ✓ \"'"})


def changed(card: Card, path: str, value: Any) -> str:
    """The card's JSON with one value changed, or left out when it is ``...``."""
    content = json.loads(card.json_text())
    *parents, last = path.split(".")
    part = content
    for name in parents:
        part = part[name]
    part[last] = value
    if value is ...:
        del part[last]
    return json.dumps(content)


class TestRoundTrip:
    def test_a_card_comes_back_as_it_was(self, full: Card) -> None:
        assert Card.parse(full.json_text(), "here") == full

    def test_a_card_comes_back_from_a_files_header(self, full: Card, tmp_path: Path) -> None:
        path = tmp_path / "c.safetensors"
        save_file({"head.0.bias": np.zeros(1, np.float32)}, path, metadata={KEY: full.json_text()})

        assert Card.read(path) == full

    def test_equal_cards_are_equal_text(self, full: Card) -> None:
        versions = {"torch": "2", "timm": "1", "numpy": "2"}
        one, other = (
            full.model_copy(update={"versions": dict(sorted(versions.items(), reverse=reverse))})
            for reverse in (False, True)
        )

        assert one == other
        assert one.json_text() == other.json_text()

    def test_a_card_without_quality_and_reference_is_a_card(self, card: Card) -> None:
        again = Card.parse(card.json_text(), "here")

        assert (again.quality, again.reference) == (None, None)

    def test_fields_that_a_later_release_adds_are_passed_over(self, full: Card) -> None:
        assert Card.parse(changed(full, "training.weather", "rain"), "here") == full

    def test_a_card_cannot_be_changed(self, card: Card) -> None:
        with pytest.raises(ValueError, match="frozen"):
            card.name = "other"  # type: ignore[misc]


class TestWrongFields:
    @pytest.mark.parametrize(
        ("path", "value"),
        [
            ("name", 3),
            ("licence", ...),
            ("input_size", "big"),
            ("backbone", None),
            ("backbone.sha256", "xyz"),
            ("backbone.sha256", "A" * 64),
            ("backbone.embedding_size", 0),
            ("backbone.embedding_size", 10**9),
            ("backbone.included", "perhaps"),
            ("head.hidden", -1),
            ("head.hidden", 10**9),
            ("head.dropout", 1.0),
            ("head.parameters", 0),
            ("training.steps", ...),
            ("training.final_loss", float("nan")),
            ("training.learning_rate", float("inf")),
            ("data.counts", {"train": 3}),
            ("quality.threshold", "high"),
            ("quality.engines", {"StyleGAN 1": {}}),
            ("reference.scores", ["x"]),
            ("reference.scores", []),
            ("reference.scores", [0.5, 0.4]),
            ("reference.scores", [0.5, 1.1]),
            ("reference.scores", [True]),
            ("reference.scores", ["0.5"]),
            ("name", "two\nlines"),
            ("name", "\x1b[2J"),
            ("name", "x" * 301),
            ("versions", {"torch": "2\r"}),
            ("intended_use", "x" * 10_001),
            ("backbone.mean", [1e308, 0, 0]),
            ("backbone.std", [1e-320, 1, 1]),
            ("head.hidden", True),
            ("input_size", "512"),
            ("data.counts", {"train": {"camera": -1}}),
            ("data.manifest_sha256", "0"),
            ("quality.threshold", -0.1),
            ("quality.target_fpr", 2),
            ("quality.reals", -200),
            ("quality.engines", {"two\nlines": {}}),
        ],
    )
    def test_a_wrong_field_is_named(self, full: Card, path: str, value: Any) -> None:
        with pytest.raises(CheckpointError) as caught:
            Card.parse(changed(full, path, value), "here.safetensors")

        assert str(caught.value).startswith(f"checkpoint here.safetensors has a card that cannot be read: {path}")
        assert "\n" not in str(caught.value)

    @pytest.mark.parametrize("std", [[0, 0.5, 0.5], [0.5, -1, 0.5], [0.5, 0.5]])
    def test_a_deviation_that_one_cannot_divide_by_is_named(self, full: Card, std: list[float]) -> None:
        with pytest.raises(CheckpointError, match=r"cannot be read: backbone\.std\.\d: "):
            Card.parse(changed(full, "backbone.std", std), "here")

    def test_a_message_about_many_wrong_fields_has_an_end(self, full: Card) -> None:
        with pytest.raises(CheckpointError, match=r"and 99990 more$") as caught:
            Card.parse(changed(full, "reference.scores", ["x"] * 100_000), "here")
        assert len(str(caught.value)) < 2000

    def test_a_key_that_stands_twice_is_refused(self, full: Card) -> None:
        text = full.json_text().replace('"seed":0', '"seed":0,"seed":1')
        with pytest.raises(CheckpointError, match="cannot be read: duplicate key 'seed'"):
            Card.parse(text, "here")

    def test_all_wrong_fields_are_named_in_one_message(self, full: Card) -> None:
        text = full.json_text().replace('"hidden":8', '"hidden":-1').replace('"seed":0', '"seed":"none"')

        with pytest.raises(CheckpointError, match=r"cannot be read: head\.hidden: .*; training\.seed: "):
            Card.parse(text, "here")

    @pytest.mark.parametrize("text", ["", "{", "[]", "null", "{}", "[" * 100_000])
    def test_what_is_no_card_is_refused(self, text: str) -> None:
        with pytest.raises(CheckpointError, match="checkpoint here has a card that cannot be read"):
            Card.parse(text, "here")

    def test_a_card_of_a_newer_format_is_refused(self, full: Card) -> None:
        with pytest.raises(CheckpointError, match=f"card of format {FORMAT + 1}, newer than {FORMAT}"):
            Card.parse(changed(full, "format", FORMAT + 1), "here")


class TestFiles:
    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"checkpoint .*/none\.safetensors does not exist"):
            Card.read(tmp_path / "none.safetensors")

    @pytest.mark.parametrize(
        "content",
        [b"", b"PK\3\4", b"\xff" * 200, struct.pack("<Q", 2**62) + b"{}", struct.pack("<Q", 2) + b"[]"],
        ids=["empty", "a zip", "rubbish", "an endless header", "a header of another kind"],
    )
    def test_a_file_of_another_kind_is_named(self, content: bytes, tmp_path: Path) -> None:
        path = tmp_path / "odd.safetensors"
        path.write_bytes(content)

        with pytest.raises(CheckpointError, match=r"checkpoint .*/odd\.safetensors is not a readable \.safetensors"):
            Card.read(path)

    @pytest.mark.parametrize("metadata", [None, {"format": "pt"}])
    def test_a_file_that_unmask_did_not_write_is_named(self, metadata: dict[str, str] | None, tmp_path: Path) -> None:
        path = tmp_path / "other.safetensors"
        save_file({"x": np.zeros(1, np.float32)}, path, metadata=metadata)

        with pytest.raises(CheckpointError, match=r"other\.safetensors has no 'unmask' card in its header"):
            Card.read(path)

    def test_a_card_is_read_without_torch(self, full: Card, tmp_path: Path) -> None:
        path = tmp_path / "c.safetensors"
        save_file({"head.0.bias": np.zeros(1, np.float32)}, path, metadata={KEY: full.json_text()})
        code = (
            "import pathlib, sys\n"
            "from trainer.detector.card import Card\n"
            "card = Card.read(pathlib.Path(sys.argv[1]))\n"
            "print(card.head.hidden, *({'torch', 'timm', 'PIL'} & set(sys.modules)))\n"
        )

        done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True, check=True)

        assert done.stdout.split() == ["8"]
