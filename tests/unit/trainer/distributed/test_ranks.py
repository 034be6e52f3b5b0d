"""Where ranks meet, and what they share: nothing of an attempt before, and all embeddings."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import distributed as dist
from torch.distributed import Store, TCPStore  # type: ignore[attr-defined]  # public, says the documentation

from trainer.distributed import ranks
from trainer.distributed.heartbeat import Heartbeat
from trainer.errors import TrainerError

FIT_YAML = Path(__file__).parents[4] / "deploy" / "k8s" / "training" / "fit.yaml"


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> TCPStore:
    """torchrun's, which outlives its attempts."""
    kept = TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(kept.port))
    return kept


def met(monkeypatch: pytest.MonkeyPatch, attempt: str, rank: int) -> bool:
    """Whether this rank of two, asked to stop where it would wait, finds the other one at their first meeting."""
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
    heartbeat = Heartbeat(ranks._meeting_place("unmask"), rank, 2)  # noqa: SLF001 - the rest of it joins a process group
    try:
        return heartbeat.meet(lambda: True)
    finally:
        heartbeat.stop()


@pytest.mark.usefixtures("store")
def test_who_came_in_an_attempt_before_has_not_come_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    came = [met(monkeypatch, attempt, rank) for attempt in ("0", "1") for rank in (0, 1)]

    assert came == [False, True, False, True]


@pytest.mark.usefixtures("store")
def test_addresses_of_an_attempt_before_are_not_found_in_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    groups: list[Store] = []
    monkeypatch.setattr(dist, "init_process_group", lambda _backend, *, store, **_: groups.append(store))
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    for attempt in ("0", "1"):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", attempt)
        ranks._join(torch.device("cpu"), 0, 2).stop()  # noqa: SLF001 - `join_ranks` would need a group that is there

    assert [group.add("address", 1) for group in groups] == [1, 1]


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_a_device_that_is_not_to_be_had_is_named_in_one_line(name: str) -> None:
    with pytest.raises(TrainerError, match=rf"^device '{name}' is not available: .+$"), ranks.join_ranks(name):
        pytest.fail("it was had")


def test_a_device_that_is_at_hand_is_taken() -> None:
    assert ranks.device_of("cpu") == torch.device("cpu")
    assert ranks.device_of("auto").type in {"cpu", "cuda"}


class TestInKubernetes:
    @pytest.fixture
    def pod(self) -> Any:
        kinds = {document["kind"]: document for document in yaml.safe_load_all(FIT_YAML.read_text())}
        return kinds["Job"]["spec"]["template"]["spec"]

    @pytest.mark.parametrize("option", ["--cache", "--out"])
    def test_what_ranks_share_is_on_a_volume_that_all_may_write_to(self, option: str, pod: Any) -> None:
        container = pod["containers"][0]
        options = dict(word.split("=", 1) for word in container["command"] if "=" in word)
        mounts = [m for m in container["volumeMounts"] if Path(options[option]).is_relative_to(m["mountPath"])]
        volumes = {volume["name"]: volume for volume in pod["volumes"]}

        assert [m["name"] for m in mounts if not m.get("readOnly") and "persistentVolumeClaim" in volumes[m["name"]]]

    def test_only_the_job_starts_ranks_again(self, pod: Any) -> None:
        assert "--max-restarts=0" in pod["containers"][0]["command"]
