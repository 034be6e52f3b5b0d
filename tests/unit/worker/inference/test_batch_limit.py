"""A batch that does not fit into memory is halved, and the size that fits is remembered and said once."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from trainer.pixels.known_pictures import known_pictures
from trainer.pixels.preprocess import Pixels
from worker.core.errors import StoppingError
from worker.inference.batch_limit import BatchLimit, is_out_of_memory
from worker.inference.scorer import Reading, Scorer
from worker.inference.watchdog import WatchedScorer

#: What PyTorch on CUDA and on a CPU, NumPy and OpenVINO raise.
FULL = [
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1024.00 MiB."),
    RuntimeError("CUDA error: out of memory"),
    RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail at alloc_cpu.cpp:121] . DefaultCPUAllocator: can't allocate memory"),
    RuntimeError("Exception from src/inference/src/cpp/infer_request.cpp:223: std::bad_alloc"),
    MemoryError("Unable to allocate 12.0 MiB for an array"),
]


class Small(Scorer):
    """A scorer whose memory holds so many pictures."""

    def __init__(self, scorer: Scorer, holds: int, error: Exception) -> None:
        super().__init__(scorer.detector, scorer.card, "cpu", "eager")
        self.holds = holds
        self.error = error
        self.sizes: list[int] = []

    def read(self, batch: Sequence[Pixels]) -> list[Reading]:
        self.sizes.append(len(batch))
        if len(batch) > self.holds:
            raise self.error
        return super().read(batch)


@pytest.fixture(scope="module")
def loaded(tiny_checkpoint: Path) -> Scorer:
    return Scorer.open(tiny_checkpoint, "cpu", engine="eager")


@pytest.mark.parametrize("error", FULL, ids=str)
def test_a_batch_that_does_not_fit_is_halved_and_the_size_is_remembered(
    loaded: Scorer, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    told: list[int] = []
    small, limit = Small(loaded, 3, error), BatchLimit(16)
    limit.on_lowered = told.append
    watched = WatchedScorer(small, 60, pytest.fail, limit)
    pictures = [known_pictures()[number % 3] for number in range(7)]
    with caplog.at_level(logging.WARNING):
        first, second = watched.score(pictures), watched.score(pictures)
    assert first == second == [pytest.approx(loaded.score([each])[0], abs=1e-5) for each in pictures]
    assert small.sizes == [7, 3, 3, 1, 3, 3, 1]
    assert (limit.images, told, len(caplog.records)) == (3, [3], 1)
    assert "a batch of 7 images does not fit into the memory of cpu: at most 3 now" in caplog.text


def test_one_picture_that_does_not_fit_is_its_own_failure(loaded: Scorer) -> None:
    watched = WatchedScorer(Small(loaded, 0, FULL[0]), 60, pytest.fail, BatchLimit(4))
    with pytest.raises(torch.OutOfMemoryError):
        watched.score(known_pictures())


def test_a_device_that_broke_is_no_matter_of_memory(loaded: Scorer) -> None:
    broken: list[str] = []
    error = RuntimeError("CUDA error: an illegal memory access was encountered")
    watched = WatchedScorer(Small(loaded, 0, error), 60, broken.append, BatchLimit(4))
    with pytest.raises(StoppingError):
        watched.score(known_pictures())
    assert (len(broken), is_out_of_memory(error)) == (1, False)
