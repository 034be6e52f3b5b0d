"""Weights from the hub: one safetensors file, one question to a hub that is away, and never a pickle."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import save_file

from trainer.detector.model import build_backbone
from trainer.detector.weights import hub_file, load_backbone, weights_sha256
from trainer.errors import WeightsError

NAME = "test_efficientnet"
REPOSITORY = "models--timm--test_efficientnet.r160_in1k"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub's client, and no network."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return tmp_path


def snapshot(cache: Path) -> Path:
    """The folder in which the client keeps the files of ``NAME``."""
    folder = cache / REPOSITORY / "snapshots" / "abc"
    folder.mkdir(parents=True)
    (cache / REPOSITORY / "refs").mkdir()
    (cache / REPOSITORY / "refs" / "main").write_text("abc")
    return folder


def test_what_was_downloaded_once_is_used_without_a_network(cache: Path) -> None:
    torch.manual_seed(0)
    backbone = build_backbone(NAME)
    path = snapshot(cache) / "model.safetensors"
    save_file(backbone.state_dict(), path)
    assert hub_file(NAME) == path
    assert load_backbone(NAME).sha256 == weights_sha256(backbone)


def test_a_pickle_beside_it_is_no_substitute(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(build_backbone(NAME).state_dict(), snapshot(cache) / "pytorch_model.bin")
    monkeypatch.setattr(torch, "load", lambda *_arguments, **_options: pytest.fail("it was unpickled"))
    with pytest.raises(WeightsError, match=f"no ImageNet weights for backbone '{NAME}'"):
        load_backbone(NAME)


def test_a_pickle_in_its_place_is_not_one_either(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(build_backbone(NAME).state_dict(), snapshot(cache) / "model.safetensors")
    monkeypatch.setattr(torch, "load", lambda *_arguments, **_options: pytest.fail("it was unpickled"))
    with pytest.raises(WeightsError, match=r"model\.safetensors is not a readable \.safetensors file"):
        load_backbone(NAME)


@pytest.fixture
def hub() -> Iterator[tuple[str, list[int]]]:
    """A hub that hangs up on everybody, and who has asked it."""
    asked: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def hang_up() -> None:
            while True:
                try:
                    connection, (_, port) = server.accept()
                except OSError:
                    return
                asked.append(port)
                connection.close()

        threading.Thread(target=hang_up, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", asked
        server.shutdown(socket.SHUT_RDWR)


def test_a_hub_that_is_away_is_not_asked_for_a_minute(hub: tuple[str, list[int]], tmp_path: Path) -> None:
    url, asked = hub
    program = f"from trainer.detector.weights import load_backbone; load_backbone({NAME!r})"
    environment = os.environ | {"HF_ENDPOINT": url, "HF_HUB_CACHE": str(tmp_path)}  # read when the client is imported
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=False)
    assert f"'{NAME}': timm could not fetch them" in done.stderr
    assert 1 <= len(asked) <= 2, "once, and once more where the client takes up a connection that broke"
