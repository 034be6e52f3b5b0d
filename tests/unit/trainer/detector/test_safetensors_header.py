"""What a .safetensors file says that it holds, and every way in which it may lie about that."""

import json
import os
import struct
from pathlib import Path
from typing import Any

import pytest

from trainer.detector import safetensors_header
from trainer.detector.safetensors_header import HeaderError, TensorInfo, read_header

A = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
EIGHT = bytes(8)


def written(folder: Path, text: bytes | dict[str, Any], body: bytes = EIGHT) -> Path:
    path = folder / "model.safetensors"
    encoded = text if isinstance(text, bytes) else json.dumps(text).encode()
    path.write_bytes(struct.pack("<Q", len(encoded)) + encoded + body)
    return path


def test_metadata_shapes_and_types_are_read(tmp_path: Path) -> None:
    found = read_header(written(tmp_path, {"__metadata__": {"unmask": "card"}, "a": A}))
    assert found.metadata == {"unmask": "card"}
    assert found.tensors == {"a": TensorInfo((2,), "F32")}


@pytest.mark.parametrize(
    ("text", "body"),
    [
        (b'{"a":%s,"a":%s}' % ((json.dumps(A).encode(),) * 2), EIGHT),
        (b'{"__metadata__":{"unmask":"good","unmask":"evil"},"a":%s}' % json.dumps(A).encode(), EIGHT),
        ({"a": A, "b": A}, EIGHT),
        ({"a": A, "b": A | {"data_offsets": [12, 20]}}, bytes(20)),
        ({"a": A, "b": A | {"data_offsets": [4, 12]}}, bytes(12)),
        ({"a": A | {"shape": [3]}}, EIGHT),
        ({"a": A | {"shape": [-2]}}, EIGHT),
        ({"a": A | {"shape": [2**62, 4]}}, EIGHT),
        ({"a": A | {"shape": [2**40], "data_offsets": [0, 2**42]}}, EIGHT),
        ({"a": A | {"dtype": "PICKLE"}}, EIGHT),
        ({"a": A}, bytes(9)),
        ({"a": A}, bytes(7)),
        (("{" + ",".join(f'"{n}":0' for n in range(60_000)) + ',"9":0}').encode(), EIGHT),
        ({str(n): A for n in range(10_001)}, EIGHT),
        ({"a": A | {"shape": [2, *[1] * 8]}}, EIGHT),
        (b"[]", EIGHT),
        (b"[" * 100_000, EIGHT),
        (b'{"a":' * 100_000, EIGHT),
        (b"\xff\xfe", EIGHT),
        (b"", b""),
    ],
    ids=[
        "a tensor twice",
        "a card twice",
        "two tensors in one place",
        "a hole",
        "an overlap",
        "a shape of another size",
        "a negative shape",
        "a shape that overflows",
        "a tensor of terabytes",
        "an unknown type",
        "something at the end",
        "too little at the end",
        "one of 60,000 names twice",
        "10,001 tensors",
        "nine dimensions",
        "a list",
        "deep lists",
        "deep objects",
        "no text",
        "nothing",
    ],
)
def test_a_header_that_does_not_hold_together_is_refused(
    text: bytes | dict[str, Any], body: bytes, tmp_path: Path
) -> None:
    with pytest.raises(HeaderError, match=r"^is not a readable \.safetensors file: ."):
        read_header(written(tmp_path, text, body))


def test_a_whole_file_is_refused_wherever_it_is_broken_off(tmp_path: Path) -> None:
    whole = written(tmp_path, {"a": A}).read_bytes()
    for length in range(len(whole)):
        (tmp_path / "part.safetensors").write_bytes(whole[:length])
        with pytest.raises(HeaderError, match=r"^is not a readable"):
            read_header(tmp_path / "part.safetensors")


def test_a_header_is_not_read_when_it_says_that_it_is_too_long(tmp_path: Path) -> None:
    path = written(tmp_path, b"{" + b" " * safetensors_header.MAX_HEADER_BYTES + b"}")
    with pytest.raises(HeaderError, match=r"a header of 16777218 bytes \(allowed: 16777216\)"):
        read_header(path)


def test_a_file_is_not_read_when_it_is_too_large(tmp_path: Path) -> None:
    path = written(tmp_path, {"a": A})
    with path.open("r+b") as file:
        file.truncate(safetensors_header.MAX_FILE_BYTES + 1)
    with pytest.raises(HeaderError, match=r"^has 4294967297 bytes \(allowed: 4294967296\)"):
        read_header(path)


@pytest.mark.parametrize(
    ("start", "message"),
    [
        (b"PK\x03\x04\x14\x00\x08\x08", r"it is a PyTorch file \(\.pth, \.pt\)$"),
        (b"\x80\x02\x8a\x0al\xfc\x9cF", r"it is a PyTorch file \(\.pth, \.pt\)$"),
        (b"\xff\xd8\xff\xe0JFIF", r"its header is longer than the file$"),
    ],
)
def test_a_file_of_another_kind_is_named(start: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "model.pth").write_bytes(start + bytes(100))
    with pytest.raises(HeaderError, match=message):
        read_header(tmp_path / "model.pth")


def test_a_pipe_is_not_waited_for_and_a_folder_is_named(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(HeaderError, match=r"^is not a file$"):
        read_header(tmp_path / "pipe")
    with pytest.raises(HeaderError, match=r"^is a folder, not a file$"):
        read_header(tmp_path)


def test_a_file_that_is_not_there_is_said_to_be_that(tmp_path: Path) -> None:
    with pytest.raises(HeaderError, match=r"^does not exist$"):
        read_header(tmp_path / "none.safetensors")
