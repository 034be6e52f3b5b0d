"""What a manifest is checked for before any work: every fault of the table and of the files, in one message."""

import hashlib
import io
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image
from pyarrow import parquet

from trainer.data.manifest import Example, read_manifest
from trainer.errors import ManifestError


def picture(seed: int) -> bytes:
    file = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def table(folder: Path, text: str, **files: bytes) -> Path:
    """A manifest in ``folder``, and files beside it: ``r1`` to ``r3`` and ``f1`` to ``f3``, and those given."""
    pictures = {name: picture(seed) for seed, name in enumerate(["r1", "r2", "r3", "f1", "f2", "f3"])}
    for name, data in (pictures | files).items():
        (folder / name).write_bytes(data)
    path = folder / "manifest.csv"
    path.write_text(text)
    return path


def fault(path: Path) -> str:
    with pytest.raises(ManifestError) as caught:
        read_manifest(path)
    assert "\n" not in str(caught.value)
    return str(caught.value).removeprefix(f"manifest {path} has ").replace(f"{path.parent}/", "")


def test_names_that_a_card_would_refuse_are_faults_before_the_run(tmp_path: Path) -> None:
    text = f'path,label,engine\nr1,real,\nf1,fake,"two\nlines"\nf2,fake,{"x" * 301}\n'
    found = fault(table(tmp_path, text))
    assert "the engine 'two\\nlines': String should match pattern" in found
    assert "String should have at most 300 characters" in found


class TestWhatIsRead:
    def test_every_picture_is_known_by_its_digest(self, tmp_path: Path) -> None:
        manifest = read_manifest(table(tmp_path, "path,label\nr1,real\nf1,fake\n"))

        assert [example.sha256 for example in manifest.examples] == [
            hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() for name in ("r1", "f1")
        ]

    def test_other_columns_are_kept_by_name(self, tmp_path: Path) -> None:
        manifest = read_manifest(table(tmp_path, "path,label,source,tone\nr1,real,stock,dark\nf1,fake,omi,\nf2,fake\n"))

        assert [example.columns for example in manifest.examples] == [
            {"source": "stock", "tone": "dark"},
            {"source": "omi", "tone": ""},
            {"source": "", "tone": ""},
        ]

    def test_examples_can_be_kept_in_sets(self, tmp_path: Path) -> None:
        path = table(tmp_path, "path,label,tone\nr1,real,dark\nf1,fake,light\n")

        assert set(read_manifest(path).examples) == set(read_manifest(path).examples)
        assert Example(tmp_path, fake=True, engine="e", split="s", group="g").columns == {}

    def test_a_group_of_several_pictures_in_one_split_is_fine(self, tmp_path: Path) -> None:
        text = "path,label,split,group\nr1,real,train,Ann\nr2,real,train,Ann\nf1,fake,eval,Bob\nf2,fake,eval,Bob\n"

        assert len(read_manifest(table(tmp_path, text)).examples) == 4

    def test_shared_faces_are_in_order(self, shared_data: Path, tmp_path: Path) -> None:
        header, *lines = (shared_data / "manifest.csv").read_text().splitlines()
        path = tmp_path / "manifest.csv"
        path.write_text("\n".join([header, *(f"{shared_data}/{line}" for line in lines[::20])]))

        examples = read_manifest(path).examples

        assert len(examples) > 200
        assert all(example.sha256 == example.columns["sha256"] for example in examples)
        assert {example.columns["source"] for example in examples} >= {"mebeauty", "omi", "sdfd"}


class TestFaults:
    def test_missing_files_are_counted(self, tmp_path: Path) -> None:
        path = table(tmp_path, "path,label\nr1,real\nx,real\ny,fake\nf1,fake\n")

        assert fault(path) == "2 missing files (the first: x)"

    def test_a_name_of_two_lines_is_told_in_one(self, tmp_path: Path) -> None:
        path = table(tmp_path, 'path,label\nr1,real\nf1,fake\n"x\ny",fake\n')

        assert fault(path) == "1 missing files (the first: x y)"

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "empty: 0 bytes (allowed: at least 1 byte)"),
            (b"hello", "not_an_image: 5 bytes of something else (allowed: JPEG/PNG/WEBP/GIF/AVIF)"),
        ],
    )
    def test_unreadable_files_are_counted(self, data: bytes, why: str, tmp_path: Path) -> None:
        path = table(tmp_path, "path,label\nr1,real\nf1,fake\nbad,fake\nworse,fake\n", bad=data, worse=b"also")

        assert fault(path) == f"2 unreadable pictures (the first: bad: {why})"

    def test_a_file_too_big_is_unreadable_and_never_in_memory(self, tmp_path: Path) -> None:
        path = table(tmp_path, "path,label\nr1,real\nf1,fake\nbig,fake\n")
        with (tmp_path / "big").open("wb") as file:
            file.truncate(1 << 40)  # a hole, of no blocks

        assert fault(path).startswith("1 unreadable pictures (the first: big: too_many_bytes: ")

    def test_a_name_that_no_file_can_have_is_unreadable(self, tmp_path: Path) -> None:
        path = table(tmp_path, f"path,label\nr1,real\nf1,fake\n{'n' * 300},fake\n")

        assert fault(path).startswith("1 unreadable pictures")

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            (["f1,fake,train", "again,fake,train"], "more than once in one label and split (the first: f1 = again)"),
            (["f1,fake,train", "again,real,train"], "under both labels (the first: f1 = again)"),
            (["f1,fake,train", "again,fake,eval"], "in more than one split (the first: f1 = again)"),
            (["f1,fake,train", "f1,fake,train"], "more than once in one label and split (the first: f1 = f1)"),
        ],
        ids=["within", "across labels", "across splits", "the same row twice"],
    )
    def test_the_same_picture_twice_is_found_by_its_bytes(self, rows: list[str], message: str, tmp_path: Path) -> None:
        lines = ["path,label,split", "r1,real,train", "f2,fake,train", *rows]
        path = table(tmp_path, "\n".join(lines), again=picture(3))  # f1's

        assert fault(path) == f"1 pictures {message}"

    def test_a_picture_counts_for_each_harm_that_it_does(self, tmp_path: Path) -> None:
        path = table(tmp_path, "path,label,split\nr1,real,train\nf1,fake,train\nagain,real,eval\n", again=picture(3))

        assert fault(path) == (
            "1 pictures under both labels (the first: f1 = again); "
            "1 pictures in more than one split (the first: f1 = again)"
        )

    @pytest.mark.parametrize(("label", "missing"), [("real", "fake"), ("fake", "real")])
    def test_one_label_alone_teaches_nothing(self, label: str, missing: str, tmp_path: Path) -> None:
        path = table(tmp_path, f"path,label\nr1,{label}\nr2,{label}\n")

        assert fault(path) == f"no {missing} pictures"

    def test_everything_wrong_is_told_at_once(self, tmp_path: Path) -> None:
        rows = [
            *("path,label,split,group", "r1,real,train,Ann", "r2,real,eval,Ann", "r3,maybe,train,", "x,real,train,"),
            *("f1,real,train,", "again,real,train,", "bad,real,train,", "short"),
        ]
        path = table(tmp_path, "\n".join(rows), again=picture(3), bad=b"text")

        assert fault(path) == (
            "1 rows without a path or a label; "
            "labels other than real and fake: {'maybe': 1}; "
            "1 missing files (the first: x); "
            "1 unreadable pictures (the first: bad: not_an_image: 4 bytes of something else "
            "(allowed: JPEG/PNG/WEBP/GIF/AVIF)); "
            "1 groups in more than one split (the first: Ann); "
            "1 pictures more than once in one label and split (the first: f1 = again); "
            "no fake pictures"
        )


class TestParquet:
    def test_without_pyarrow_we_are_told_what_to_install(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)  # what Python takes for "not installed"
        path = tmp_path / "manifest.parquet"
        path.write_bytes(b"PAR1")

        with pytest.raises(ManifestError, match=r"needs pyarrow: pip install 'unmask\[parquet\]'"):
            read_manifest(path)

    def test_a_missing_table_is_missing_whatever_its_format(self, tmp_path: Path) -> None:
        with pytest.raises(ManifestError, match=r"none\.parquet does not exist"):
            read_manifest(tmp_path / "none.parquet")

    def test_it_says_what_the_same_csv_says(self, tmp_path: Path) -> None:
        csv = table(tmp_path, "path,label,engine,age\nr1,real,,40\nf1,fake,SG2,\n")
        columns = {"path": ["r1", "f1"], "label": ["real", "fake"], "engine": [None, "SG2"], "age": [40, None]}
        parquet.write_table(pa.table(columns), tmp_path / "manifest.parquet")

        assert read_manifest(tmp_path / "manifest.parquet").examples == read_manifest(csv).examples

    def test_what_is_no_parquet_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "manifest.parquet"
        path.write_bytes(b"path,label\n")

        with pytest.raises(ManifestError, match="is not a readable Parquet file"):
            read_manifest(path)
