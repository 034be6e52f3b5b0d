"""The table of training pictures: what it says is taken, what is wrong with it is told in one message."""

import hashlib
import io
from pathlib import Path

import pytest
from PIL import Image

from trainer.data.manifest import Example, read_manifest
from trainer.errors import ManifestError


def table(folder: Path, text: str | bytes, *files: str) -> Path:
    """A manifest in ``folder``, and pictures beside it, no two alike."""
    for number, name in enumerate(files):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(picture(number))
    path = folder / "manifest.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (16, 16), (number, 0, 0)).save(file, "PNG")
    return file.getvalue()


def digest(number: int) -> str:
    return hashlib.sha256(picture(number)).hexdigest()


class TestReading:
    def test_every_row_becomes_an_example_in_order(self, tmp_path: Path) -> None:
        path = table(
            tmp_path,
            "path,label,engine,split,group\nb.png,fake,StyleGAN 1,eval,g1\nfaces/a.png,real,,train,g2\n",
            "b.png",
            "faces/a.png",
        )

        manifest = read_manifest(path)

        assert manifest.examples == (
            Example(tmp_path / "b.png", fake=True, engine="StyleGAN 1", split="eval", group="g1", sha256=digest(0)),
            Example(tmp_path / "faces/a.png", fake=False, engine="camera", split="train", group="g2", sha256=digest(1)),
        )
        assert manifest.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()

    def test_a_path_and_a_label_are_enough(self, tmp_path: Path) -> None:
        manifest = read_manifest(table(tmp_path, "label,path\nreal,a.png\nfake,b.png\n", "a.png", "b.png"))

        assert manifest.examples == (
            Example(tmp_path / "a.png", fake=False, engine="camera", split="train", group="a.png", sha256=digest(0)),
            Example(tmp_path / "b.png", fake=True, engine="unknown", split="train", group="b.png", sha256=digest(1)),
        )

    def test_splits_are_counted_by_engine(self, tmp_path: Path) -> None:
        rows = ["a,real,,train", "b,real,,train", "c,fake,SG2,train", "d,fake,SG1,train", "e,fake,SG1,eval"]
        manifest = read_manifest(table(tmp_path, "\n".join(["path,label,engine,split", *rows]), *"abcde"))

        assert manifest.counts() == {"eval": {"SG1": 1}, "train": {"SG1": 1, "SG2": 1, "camera": 2}}
        assert [example.path.name for example in manifest.split("train")] == ["a", "b", "c", "d"]
        assert manifest.split("test") == []

    @pytest.mark.parametrize(
        "text",
        [
            b"\xef\xbb\xbfpath,label\r\na.png,real\r\nb.png,fake\r\n",
            b"path,label\ra.png,real\rb.png,fake\r",
            b'"path","label"\n"a.png","real"\n"b.png","fake"\n',
            b"path,label\na.png,real,and,more\nb.png,fake\n",
            b"path,label\n\na.png,real\n\nb.png,fake\n\n",
        ],
        ids=["as Excel saves it", "as an old Mac does", "quoted", "cells without a column", "empty lines"],
    )
    def test_every_dialect_of_csv_is_read(self, text: bytes, tmp_path: Path) -> None:
        manifest = read_manifest(table(tmp_path, text, "a.png", "b.png"))

        assert [example.path.name for example in manifest.examples] == ["a.png", "b.png"]

    @pytest.mark.parametrize("name", ["Zoë ✓.png", "a, b.png", "two\nlines.png", "line\u2028separator.png", "\x0c.png"])
    def test_a_file_may_have_any_name(self, name: str, tmp_path: Path) -> None:
        manifest = read_manifest(table(tmp_path, f'path,label\n"{name}",real\nb,fake\n', name, "b"))

        assert manifest.examples[0].path == tmp_path / name


class TestRefusals:
    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "has no rows"),
            ("path,label\n", "has no rows"),
            ("file,label\na.png,real\n", "has no column path: it has file, label"),
            ("path,kind\na.png,real\n", "has no column label: it has path, kind"),
            ("a.png,real\nb.png,fake\n", "has no column path, label: it has a.png, real"),
            ("file,kind\na.png,real,extra\n", "has no column path, label: it has file, kind"),
            ("path,label\na.png,real\nb.png\na.png\n", "has 2 rows without a path or a label"),
            ("label,path\nreal\n", "has 1 rows without a path or a label"),
            (
                "path,label\na.png,real\na.png,Fake\na.png,\na.png,Fake\n",
                "other than real and fake: {'Fake': 2, '': 1}",
            ),
            ("path,label\na.png,real\nx.png,real\ny.png,fake\n", r"has 2 missing files \(the first: .*/x\.png\)"),
            ("path,label\n,real\n", "has 1 missing files"),
            (
                "path,label,split,group\na.png,real,train,Ann\nb.png,real,eval,Ann\nb.png,real,eval,Bob\n",
                r"has 1 groups in more than one split \(the first: Ann\)",
            ),
            (
                "path,label,split\na.png,real,train\na.png,real,eval\n",
                r"has 1 groups in more than one split \(the first: a\.png\)",
            ),
            (
                "path,label,split,group\nx.png,real,train,Ann\nb.png,real,eval,Ann\n",
                r"has 1 missing files .*; 1 groups in more than one split",
            ),
            (b"path,label\n\xff\xfe.png,real\n", "is not a readable CSV file"),
            ("path,label\n" + "a" * 200_000 + ",real\n", "is not a readable CSV file: field larger"),
        ],
    )
    def test_what_is_wrong_is_told_in_one_line_with_counts(
        self, text: str | bytes, message: str, tmp_path: Path
    ) -> None:
        path = table(tmp_path, text, "a.png", "b.png")

        with pytest.raises(ManifestError, match=message) as caught:
            read_manifest(path)

        assert str(caught.value).startswith(f"manifest {path} ")
        assert "\n" not in str(caught.value)

    def test_a_missing_manifest_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"manifest .*/none\.csv does not exist"):
            read_manifest(tmp_path / "none.csv")

    def test_a_folder_is_no_manifest(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match="is not a readable CSV file"):
            read_manifest(tmp_path)
