"""Pictures to embeddings: each in its place, each once for all runs, and a bad one by name."""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from trainer.detector.model import Detector, Head
from trainer.distributed.process import Stopped
from trainer.distributed.ranks import Ranks
from trainer.errors import ManifestError, TrainerError
from trainer.fitting.cache import Embeddings
from trainer.fitting.embed import Embedder, Source

ALONE = Ranks(0, 1, torch.device("cpu"))


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


class Colours(nn.Module):
    """The least of backbones: a picture's mean colour. Counts the pictures that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.ones(1))
        self._seen: list[int] = []  # threads append to it at once
        self.pretrained_cfg: dict[str, str] = {}

    @property
    def seen(self) -> int:
        return sum(self._seen)

    def forward(self, images: Tensor) -> Tensor:
        self._seen.append(len(images))
        return images.mean(dim=(2, 3)) * self.factor


class Room:
    """A backbone, a cache and grey pictures, more of them than wait decoded, each of another grey."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.backbone = Colours()
        self.paths = [folder / f"{level}.png" for level in range(25)]
        for level, path in enumerate(self.paths):
            Image.new("L", (32, 32), level * 8).save(path)
        self.sources = [Source(path, sha256_of(path)) for path in self.paths]

    def embedder(self, ranks: Ranks = ALONE, stop_after: int = 1000, mean: float = 0.0, std: float = 1.0) -> Embedder:
        detector = Detector(self.backbone, Head(3, 1), (mean,) * 3, (std,) * 3)
        return Embedder(detector, self.folder / "cache", ranks, lambda: self.backbone.seen >= stop_after)

    def embed(self, sources: Sequence[Source], ranks: Ranks = ALONE) -> Embeddings:
        return self.embedder(ranks).embed(sources, self.folder / "rows.npy", "test")


@pytest.fixture
def room(tmp_path: Path) -> Room:
    return Room(tmp_path)


def greys(levels: Sequence[int]) -> Embeddings:
    return np.repeat(np.array(levels, dtype=np.float32)[:, None] * 8 / 255, 3, axis=1)


class TestEmbeddings:
    def test_they_are_in_the_order_of_the_pictures(self, room: Room) -> None:
        embeddings = room.embed(room.sources)

        assert embeddings.dtype == np.float32
        assert embeddings == pytest.approx(greys(range(len(room.paths))), abs=1e-5)

    def test_a_picture_may_be_asked_for_twice(self, room: Room) -> None:
        asked = [3, 1, 3, 3, 0]

        assert room.embed([room.sources[i] for i in asked]) == pytest.approx(greys(asked), abs=1e-5)
        assert room.backbone.seen == 3

    def test_of_no_pictures_there_are_none(self, room: Room) -> None:
        assert len(room.embed([])) == 0

    def test_a_view_is_embedded_as_it_looks(self, room: Room, tmp_path: Path) -> None:
        path = tmp_path / "halves.png"
        image = Image.new("RGB", (64, 64), (255, 0, 0))
        image.paste((0, 0, 255), (0, 0, 64, 20))
        image.save(path)
        plain = Source(path, sha256_of(path))

        as_is, flipped, recompressed = room.embed(
            [plain, *(Source(path, plain.sha256, view) for view in ("flip:1", "jpeg:50"))]
        )

        assert flipped == pytest.approx(as_is, abs=1e-3)  # the same colours, elsewhere
        assert recompressed == pytest.approx(as_is, abs=0.02)
        assert room.backbone.seen == 3, "each view is a picture of its own"


class TestTheCache:
    def test_each_picture_passes_through_the_backbone_once_for_all_runs(self, room: Room) -> None:
        first = np.array(room.embed(room.sources[:5]))
        again = room.embed(room.sources[:8])

        assert room.backbone.seen == 8
        assert np.array_equal(first, again[:5])

    def test_another_backbones_embeddings_are_not_taken(self, room: Room) -> None:
        room.embed(room.sources[:2])
        with torch.no_grad():
            room.backbone.factor.fill_(2)

        assert room.embed(room.sources[:2]) == pytest.approx(2 * greys([0, 1]), abs=1e-5)
        assert room.backbone.seen == 4

    @pytest.mark.parametrize(("mean", "std"), [(0.5, 1.0), (0.0, 0.5)])
    def test_nor_those_of_the_same_weights_with_another_normalisation(
        self, mean: float, std: float, room: Room
    ) -> None:
        room.embed(room.sources[:2])

        found = room.embedder(mean=mean, std=std).embed(room.sources[:2], room.folder / "rows.npy", "test")

        assert found == pytest.approx((greys([0, 1]) - mean) / std, abs=1e-5)

    def test_nor_those_of_another_architecture_with_the_same_weights(self, room: Room) -> None:
        room.backbone.pretrained_cfg = {"architecture": "one"}
        room.embed(room.sources[:2])
        room.backbone.pretrained_cfg = {"architecture": "two"}

        room.embed(room.sources[:2])

        assert room.backbone.seen == 4

    def test_a_run_that_was_stopped_keeps_what_it_has(self, room: Room) -> None:
        with pytest.raises(Stopped):
            room.embedder(stop_after=8).embed(room.sources, room.folder / "rows.npy", "test")
        seen = room.backbone.seen
        kept = sum(len(np.load(path)) for path in room.folder.glob("cache/*/*.keys"))

        room.embed(room.sources)

        assert 8 <= seen < len(room.sources)
        assert 0 < kept <= seen  # threads that were ahead are for nothing
        assert room.backbone.seen == seen + len(room.sources) - kept

    @pytest.mark.parametrize("rank", [0, 1])
    def test_each_rank_keeps_its_share_and_names_the_cache_that_the_others_do_not_see(
        self, rank: int, room: Room
    ) -> None:
        named = (
            rf"ranks do not share --cache {room.folder}/cache,.* it lacks {len(room.sources[1 - rank :: 2])} embeddings"
        )
        with pytest.raises(TrainerError, match=named):
            room.embedder(Ranks(rank, 2, torch.device("cpu"))).fill(room.sources, "test")
        seen = room.backbone.seen

        room.embed(room.sources[rank::2])

        assert room.backbone.seen == seen == len(room.sources[rank::2])

    def test_threads_are_given_back(self, room: Room) -> None:
        before = torch.get_num_threads()
        torch.set_num_threads(before + 1)

        room.embed(room.sources)

        assert torch.get_num_threads() == before + 1
        torch.set_num_threads(before)


class TestBadPictures:
    def test_an_unusable_picture_is_named_with_the_reason(self, room: Room) -> None:
        room.paths[5].write_bytes(b"<!doctype html>")

        with pytest.raises(ManifestError, match=rf"picture {room.paths[5]} cannot be used: not_an_image: 15 bytes"):
            room.embed(room.sources)

    def test_a_missing_picture_is_named(self, room: Room) -> None:
        room.paths[-1].unlink()

        with pytest.raises(ManifestError, match=rf"picture {room.paths[-1]} cannot be used: .*No such file"):
            room.embed(room.sources)
