"""A manifest from folders: what is taken, what it is called, and which split it goes to."""

import io
import os
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from trainer.data.folders import SUFFIXES, ManifestRow, build_manifest, rows_of_folders, write_manifest
from trainer.data.manifest import read_manifest
from trainer.errors import ManifestError


def picture(folder: Path, *names: str) -> None:
    """Pictures at ``names``, each of its own colour."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        colour = sum(byte * place for place, byte in enumerate(os.fsencode(name), 1)) % 2**24
        file = io.BytesIO()
        Image.new("RGB", (16, 16), (colour >> 16, colour >> 8 & 255, colour & 255)).save(file, "PNG")
        path.write_bytes(file.getvalue())


class TestLayout:
    @pytest.mark.parametrize(
        ("name", "row"),
        [
            ("real/a.jpg", ("real", "camera", "a", "")),
            ("real/stock/a.jpg", ("real", "camera", "a", "stock")),
            ("real/stock/2024/a.jpg", ("real", "camera", "a", "stock")),
            ("fake/StyleGAN 2/a.v1.png", ("fake", "StyleGAN 2", "a.v1", "")),
            ("fake/sd/omi/a.WEBP", ("fake", "sd", "a", "omi")),
            ("fake/a.jpeg", ("fake", "unknown", "a", "")),
        ],
    )
    def test_folders_say_label_engine_and_source(self, name: str, row: tuple[str, ...], tmp_path: Path) -> None:
        picture(tmp_path, name, "real/other.png", "fake/sd/other.png")

        rows = {row.path: row for row in rows_of_folders(tmp_path)}

        assert (rows[name].label, rows[name].engine, rows[name].group, rows[name].source) == row

    def test_rows_come_in_the_same_order_everywhere(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/b.png", "fake/sd/c.png", "real/a.png", "fake/gan/d.png")

        assert [row.path for row in rows_of_folders(tmp_path)] == [
            "real/a.png",
            "real/b.png",
            "fake/gan/d.png",
            "fake/sd/c.png",
        ]

    def test_only_pictures_are_taken(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/a.png", "fake/b.png")
        picture(tmp_path, "real/notes.txt", "real/.a.png", "real/raw.tiff", "other/c.png", "d.png")
        (tmp_path / "real/album.png").mkdir()

        assert [row.path for row in rows_of_folders(tmp_path)] == ["real/a.png", "fake/b.png"]

    @pytest.mark.parametrize("suffix", SUFFIXES)
    def test_each_format_that_workers_decode_is_taken(self, suffix: str, tmp_path: Path) -> None:
        touch(tmp_path, f"real/a{suffix.upper()}", f"fake/b{suffix}")

        assert len(rows_of_folders(tmp_path)) == 2

    @pytest.mark.parametrize(
        ("names", "message"),
        [
            ([], r"below real/ and fake/"),
            (["real/a.png"], r"below fake/"),
            (["fake/sd/a.png"], r"below real/"),
            (["Real/a.png", "fake/a.png"], r"below real/"),
        ],
    )
    def test_a_folder_without_one_of_the_labels_is_refused(
        self, names: list[str], message: str, tmp_path: Path
    ) -> None:
        picture(tmp_path, *names)

        with pytest.raises(ManifestError, match=rf"folder .* has no pictures \(\.jpg, .*\) {message}"):
            rows_of_folders(tmp_path)


class TestSplit:
    def test_about_the_share_asked_for_is_held_out(self, tmp_path: Path) -> None:
        touch(tmp_path, *[f"real/{n}.png" for n in range(300)], *[f"fake/sd/f{n}.png" for n in range(300)])

        held_out = [row.label for row in rows_of_folders(tmp_path, 0.3) if row.split == "eval"]

        assert held_out.count("real") == pytest.approx(90, abs=25)
        assert held_out.count("fake") == pytest.approx(90, abs=25)

    @pytest.mark.parametrize(("share", "split"), [(0.0, "train"), (1.0, "eval")])
    def test_none_or_all_can_be_held_out(self, share: float, split: str, tmp_path: Path) -> None:
        touch(tmp_path, *[f"real/{n}.png" for n in range(20)], "fake/a.png")

        assert {row.split for row in rows_of_folders(tmp_path, share)} == {split}

    @pytest.mark.parametrize("share", [-0.1, 1.1, float("nan")])
    def test_a_share_that_is_none_is_refused(self, share: float, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="not between 0 and 1"):
            rows_of_folders(tmp_path, share)

    def test_a_picture_keeps_its_split_whatever_is_added_or_moved(self, tmp_path: Path) -> None:
        touch(tmp_path / "old", *[f"real/{n}.png" for n in range(50)], "fake/a.png")
        before = {row.group: row.split for row in rows_of_folders(tmp_path / "old")}
        shutil.move(tmp_path / "old", tmp_path / "new")
        touch(tmp_path / "new", *[f"real/more{n}.png" for n in range(50)])

        after = {row.group: row.split for row in rows_of_folders(tmp_path / "new")}

        assert before.items() <= after.items()
        assert set(before.values()) == {"train", "eval"}

    def test_versions_of_one_picture_stay_together(self, tmp_path: Path) -> None:
        touch(tmp_path, *[f"real/{n}.png" for n in range(50)], *[f"fake/swap/{n}.jpg" for n in range(50)])
        splits: dict[str, set[str]] = {}
        for row in rows_of_folders(tmp_path):
            splits.setdefault(row.group, set()).add(row.split)

        assert {len(names) for names in splits.values()} == {1}


class TestBuilding:
    def test_the_table_can_be_read_back(self, tmp_path: Path) -> None:
        picture(tmp_path / "faces", "real/stock/a, b.png", "real/Zoë.png", "fake/sd/c.png", "fake/gan/d.png")

        build_manifest(tmp_path / "faces", tmp_path / "manifest.csv", 0.5)

        examples = read_manifest(tmp_path / "manifest.csv").examples
        assert {example.path.name: example.engine for example in examples} == {
            "a, b.png": "camera",
            "Zoë.png": "camera",
            "c.png": "sd",
            "d.png": "gan",
        }
        assert examples[0].columns == {"source": ""}
        assert examples[1].columns == {"source": "stock"}
        assert {example.path.is_file() for example in examples} == {True}

    @pytest.mark.parametrize("out", ["faces/manifest.csv", "manifest.csv", "tables/manifest.csv"])
    def test_the_table_may_lie_anywhere(self, out: str, tmp_path: Path) -> None:
        picture(tmp_path / "faces", "real/a.png", "fake/b.png")
        (tmp_path / "tables").mkdir()

        build_manifest(tmp_path / "faces", tmp_path / out, 0)

        shutil.move(tmp_path, moved := tmp_path.with_name(f"{tmp_path.name}-moved"))
        assert len(read_manifest(moved / out).examples) == 2

    def test_the_summary_counts_labels_splits_and_engines(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/a.png", "real/b.png", "fake/sd/c.png", "fake/gan/d.png", "fake/gan/e.png")

        summary = build_manifest(tmp_path, tmp_path / "m.csv", 0)

        assert summary == f"{tmp_path}/m.csv: 5 pictures, 2 real and 3 fake. train: 2 camera, 2 gan, 1 sd."

    def test_what_is_wrong_is_told_and_the_table_left_to_be_mended(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/a.png", "fake/sd/b.png")
        shutil.copy(tmp_path / "real/a.png", tmp_path / "fake/sd/copy.png")

        with pytest.raises(ManifestError, match="1 pictures under both labels"):
            build_manifest(tmp_path, tmp_path / "m.csv", 0)

        assert (tmp_path / "m.csv").read_text().startswith("path,label,engine,split,group,source\n")

    def test_every_picture_is_read_whole_and_all_that_cannot_be_used_are_listed(self, tmp_path: Path) -> None:
        broken_folder(tmp_path)

        with pytest.raises(ManifestError, match=r"m\.csv: 2 of 6 pictures cannot be used") as caught:
            build_manifest(tmp_path, tmp_path / "m.csv", 0)

        listed = [line.strip() for line in str(caught.value).splitlines()[1:]]
        assert [line.split(": ")[0] for line in listed] == [f"{tmp_path}/{name}" for name in BROKEN]
        assert all("truncated" in line or "not_an_image" in line for line in listed)
        assert "--skip-unreadable" in str(caught.value)
        assert not (tmp_path / "m.skipped.txt").exists()

    def test_unreadable_pictures_can_be_left_out_and_are_recorded(self, tmp_path: Path) -> None:
        broken_folder(tmp_path)

        summary = build_manifest(tmp_path, tmp_path / "m.csv", 0, skip_unreadable=True)

        assert "4 pictures, 2 real and 2 fake" in summary
        assert f"2 pictures cannot be used and are left out: see {tmp_path}/m.skipped.txt." in summary
        recorded = (tmp_path / "m.skipped.txt").read_text().splitlines()
        assert [line.split(": ")[0] for line in recorded] == [f"{tmp_path}/{name}" for name in BROKEN]
        assert len(read_manifest(tmp_path / "m.csv").examples) == 4

        for name in BROKEN:
            (tmp_path / name).unlink()
        assert "left out" not in build_manifest(tmp_path, tmp_path / "m.csv", 0, skip_unreadable=True)
        assert not (tmp_path / "m.skipped.txt").exists(), "of an earlier manifest"

    def test_what_is_passed_over_is_named(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/a.png", "fake/b.png")
        touch(tmp_path, "real/IMG_1.HEIC", *[f"fake/sd/{n}.tiff" for n in range(4)], "real/README", "real/.DS_Store")

        summary = build_manifest(tmp_path, tmp_path / "m.csv", 0)

        assert summary.endswith(
            " Passed over by name: 4 .tiff (0.tiff, 1.tiff, 2.tiff, ...); 1 .heic (IMG_1.HEIC); 1 no suffix (README). "
            "Convert HEIC files to JPEG to use them."
        )

    def test_a_folder_that_is_not_there_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"manifest .*/none/m\.csv cannot be written"):
            write_manifest(
                [ManifestRow("real/a.png", "real", "camera", "train", "a", "")], tmp_path, tmp_path / "none" / "m.csv"
            )

    @pytest.mark.skipif(sys.platform != "linux", reason="elsewhere file names are text")
    def test_a_name_that_is_no_text_is_refused_and_nothing_left_behind(self, tmp_path: Path) -> None:
        picture(tmp_path, "real/a.png", "fake/b.png")
        shutil.copy(tmp_path / "real/a.png", os.fsdecode(os.fsencode(tmp_path) + b"/real/\xff.png"))

        with pytest.raises(ManifestError, match="cannot be written"):
            build_manifest(tmp_path, tmp_path / "m.csv")

        assert sorted(path.name for path in tmp_path.iterdir()) == ["fake", "real"]


#: Pictures that cannot be used: one is text, one is cut after its header.
BROKEN = ("fake/sd/text.png", "real/cut.png")


def broken_folder(folder: Path) -> None:
    """Four pictures that can be used, and `BROKEN`."""
    picture(folder, "real/a.png", "real/b.png", "fake/sd/c.png", "fake/sd/d.png")
    Image.frombytes("RGB", (64, 64), os.urandom(3 * 64 * 64)).save(folder / "real/cut.png")
    (folder / "real/cut.png").write_bytes((folder / "real/cut.png").read_bytes()[:4000])
    (folder / "fake/sd/text.png").write_text("no picture")


def touch(folder: Path, *names: str) -> None:
    """Empty files: for what never opens them."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
