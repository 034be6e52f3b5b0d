"""The shortcut guard: files that tell the labels are refused by name, suspicious ones named, others left alone."""

import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from trainer.data.manifest import Example, read_manifest
from trainer.data.shortcut_guard import TOGETHER, check_shortcuts
from trainer.errors import ManifestError, ShortcutError, TrainerError

Encode = Callable[[int], bytes]

EXIF = Image.Exif()
EXIF[ExifTags.Base.Make] = "Camera"


def scene(seed: int, width: int = 32, height: int = 32) -> Image.Image:
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def encode(image: Image.Image, format_: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, format_, **options)
    return file.getvalue()


def plain(number: int) -> bytes:
    return encode(scene(number), quality=80)


def rotating(*encoders: Encode) -> Encode:
    """Each picture by the next encoder."""
    return lambda number: encoders[number % len(encoders)](number)


def of_one_length(encoder: Encode) -> Encode:
    """Bytes behind a JPEG's end are nobody's."""
    return lambda number: encoder(number).ljust(4000, b"\0")


def pictures(folder: Path, reals: Encode, fakes: Encode, count: int = 40) -> list[Example]:
    """``count`` pictures of each label, each a group of its own."""
    return [
        picture(folder, f"{label}{number}", encoder(number + 1000 * fake), fake=fake)
        for label, encoder, fake in (("real", reals, False), ("fake", fakes, True))
        for number in range(count)
    ]


def picture(folder: Path, name: str, data: bytes, *, fake: bool, group: str = "") -> Example:
    (folder / name).write_bytes(data)
    return Example(folder / name, fake, engine="any", split="train", group=group or name)


SHORTCUTS: dict[str, Encode] = {
    "format": lambda n: encode(scene(n), "PNG"),
    "width": lambda n: encode(scene(n, 40), quality=80),
    "height": lambda n: encode(scene(n, 32, 40), quality=80),
    "aspect": lambda n: encode(scene(n, 40), quality=80),
    "quality": lambda n: encode(scene(n), quality=95),
    "subsampling": lambda n: encode(scene(n), quality=80, subsampling="4:4:4"),
    "greyscale": lambda n: encode(scene(n).convert("L").convert("RGB"), quality=80),
    "alpha": lambda n: encode(scene(n).convert("RGBA"), "PNG"),
    "exif": lambda n: encode(scene(n), quality=80, exif=EXIF),
}


class TestRefusals:
    @pytest.mark.parametrize("column", SHORTCUTS)
    @pytest.mark.parametrize("label", ["real", "fake"])
    def test_a_fact_that_tells_the_labels_is_refused_by_name(self, column: str, label: str, tmp_path: Path) -> None:
        reals, fakes = (SHORTCUTS[column], plain) if label == "real" else (plain, SHORTCUTS[column])

        with pytest.raises(ShortcutError, match=rf"\b{column} \(1\.00\)") as caught:
            check_shortcuts(pictures(tmp_path, reals, fakes, count=20))

        assert caught.value.columns[column] == 1

    def test_the_message_is_one_line_with_the_remedies(self, tmp_path: Path) -> None:
        with pytest.raises(TrainerError, match=r"--normalise.*--accept-shortcut") as caught:
            check_shortcuts(pictures(tmp_path, plain, SHORTCUTS["format"]))

        assert "\n" not in str(caught.value)

    def test_facts_that_tell_only_together_are_refused_together(self, tmp_path: Path) -> None:
        fakes = rotating(SHORTCUTS["quality"], SHORTCUTS["exif"])

        with pytest.raises(ShortcutError, match=rf"face: {TOGETHER}: (quality|exif) \+ (quality|exif) \(1\.00\)\."):
            check_shortcuts(pictures(tmp_path, of_one_length(plain), of_one_length(fakes)))

    def test_an_accepted_shortcut_is_told_and_recorded(self, tmp_path: Path) -> None:
        guard = check_shortcuts(pictures(tmp_path, plain, SHORTCUTS["quality"]), accept=True)

        assert "quality" in guard.refused
        assert "quality (1.00)" in (guard.warning or "")
        assert json.loads(json.dumps(guard.card()))["quality"] == 1


class TestWarnings:
    def test_a_weaker_fact_is_a_warning(self, tmp_path: Path) -> None:
        fakes = rotating(SHORTCUTS["exif"], plain, plain)

        guard = check_shortcuts(pictures(tmp_path, plain, fakes, count=60))

        assert guard.refused == ()
        assert "exif" in guard.warned
        assert guard.accuracy["exif"] == pytest.approx(0.5 + 20 / 60 / 2)
        assert "exif (0.67)" in (guard.warning or "")

    def test_what_only_one_label_has_now_and_then_is_a_warning(self, tmp_path: Path) -> None:
        reals = rotating(SHORTCUTS["greyscale"], *[plain] * 11)

        guard = check_shortcuts(pictures(tmp_path, reals, plain, count=180))

        assert "greyscale (0.54)" in (guard.warning or "")

    def test_shared_faces_are_suspicious_and_not_refused(self, shared_data: Path, tmp_path: Path) -> None:
        guard = check_shortcuts(shared_faces(shared_data, tmp_path, every=4))

        assert guard.refused == ()
        assert "greyscale (0.5" in (guard.warning or "")
        assert 0.6 < guard.accuracy[TOGETHER] < 0.75


class TestInnocence:
    def test_pictures_stored_alike_pass(self, tmp_path: Path) -> None:
        guard = check_shortcuts(pictures(tmp_path, plain, plain))

        assert (guard.accuracy, guard.warning) == ({}, None)

    def test_facts_that_vary_in_both_labels_alike_pass(self, tmp_path: Path) -> None:
        anything = rotating(*SHORTCUTS.values(), plain)

        guard = check_shortcuts(pictures(tmp_path, anything, anything, count=60))

        assert guard.refused == ()
        assert guard.warning is None
        assert {"format", "quality", "exif", TOGETHER} <= guard.accuracy.keys()

    def test_one_group_s_way_of_storing_is_no_shortcut(self, tmp_path: Path) -> None:
        people = [
            picture(tmp_path, f"{person}-{n}", as_wide_as(person, n), fake=person % 2 == 0, group=f"{person}")
            for person in range(4)
            for n in range(10)
        ]

        guard = check_shortcuts(people)

        assert guard.refused == ()
        assert guard.accuracy["width"] <= 0.5  # a tree that had seen everybody would know them all by width

    def test_two_pictures_of_each_label_prove_nothing(self, tmp_path: Path) -> None:
        assert check_shortcuts(pictures(tmp_path, plain, SHORTCUTS["format"], count=2)).refused == ()

    @pytest.mark.parametrize("count", [0, 1])
    def test_of_too_few_nothing_is_said(self, count: int, tmp_path: Path) -> None:
        guard = check_shortcuts(pictures(tmp_path, plain, SHORTCUTS["format"], count=count))

        assert (guard.accuracy, guard.warning) == ({}, None)

    def test_of_one_label_nothing_is_said(self, tmp_path: Path) -> None:
        assert check_shortcuts(pictures(tmp_path, plain, plain)[:40]).accuracy == {}

    def test_detail_is_no_shortcut_where_all_share_one_jpeg_encoding(self, tmp_path: Path) -> None:
        guard = check_shortcuts(pictures(tmp_path, plain, smooth))

        assert guard.accuracy == {}

    def test_bytes_tell_on_a_lossy_format_that_hides_its_quality(self, tmp_path: Path) -> None:
        fine = pictures(
            tmp_path, lambda n: encode(scene(n), "WEBP", quality=95), lambda n: encode(scene(n), "WEBP", quality=20)
        )

        with pytest.raises(ShortcutError, match=r"bytes \(1\.00\)"):
            check_shortcuts(fine)


class TestPictures:
    def test_pictures_that_cannot_be_used_are_counted_in_one_message(self, tmp_path: Path) -> None:
        examples = pictures(tmp_path, plain, plain)
        examples[3].path.write_bytes(encode(scene(3, 256, 256))[:5000])
        examples[5].path.unlink()

        with pytest.raises(ManifestError, match=r"2 pictures cannot be used \(the first: .*/real3: truncated"):
            check_shortcuts(examples)

    def test_pictures_are_judged_as_they_will_be_seen(self, tmp_path: Path) -> None:
        examples = pictures(tmp_path, plain, SHORTCUTS["format"])

        assert check_shortcuts(examples, prepare=lambda _: plain(0)).accuracy == {}

    def test_the_same_pictures_get_the_same_answer(self, tmp_path: Path) -> None:
        examples = pictures(tmp_path, rotating(*SHORTCUTS.values()), rotating(plain, *SHORTCUTS.values()))

        assert check_shortcuts(examples) == check_shortcuts(examples)


def smooth(number: int) -> bytes:
    return encode(Image.new("RGB", (32, 32), (number % 200, 90, 10)), quality=80)


def as_wide_as(person: int, number: int) -> bytes:
    return encode(scene(number, 32 + person), quality=80)


def shared_faces(shared_data: Path, folder: Path, every: int) -> list[Example]:
    """One in ``every`` of the shared faces to train on."""
    header, *lines = (shared_data / "manifest.csv").read_text().splitlines()
    path = folder / "faces.csv"
    path.write_text("\n".join([header, *(f"{shared_data}/{line}" for line in lines if ",train," in line)][::every]))
    return read_manifest(path).split("train")
