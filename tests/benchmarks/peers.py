"""Other servers with the same network and the same load, where $PERF_HOME has them: see ``../shared/bench``."""

import ctypes.util
import json
import os
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.benchmarks.cost import Cost
from tests.chaos.broker import Broker
from trainer.distributed.process import cores

_SCRIPTS = Path(__file__).parents[3] / "shared" / "bench"
#: The best first: by name in the scripts, and in the table.
NAMES = {"mosec": "mosec", "cbatch_pre": "celery-batches"}


def missing() -> str | None:
    """Why there are none to measure; None when there are."""
    if not os.environ.get("PERF_HOME"):
        return "PERF_HOME is not set"
    return None if (_SCRIPTS / "peers.sh").is_file() else f"{_SCRIPTS} is not at hand"


def cost(name: str, photos: Path, seconds: float) -> Cost:
    """Start a peer, load it for so long, stop it."""
    with tempfile.TemporaryDirectory(prefix="unmask-peers-") as folder:
        broker, out = Broker(Path(folder) / "valkey"), Path(folder) / "out.jsonl"
        try:
            command = [str(_SCRIPTS / "peers.sh"), name, f"{seconds:g}", str(photos), str(out)]
            done = subprocess.run(command, env=_environment(broker), capture_output=True, text=True, check=False)
            if not out.is_file() or not out.read_text():
                raise RuntimeError(f"{name} gave no figures: {done.stdout[-500:]} {done.stderr[-500:]}")
            said: dict[str, Any] = json.loads(out.read_text().splitlines()[-1])
        finally:
            broker.close()
    return Cost(said["n"], said["secs"], said["srv_cores"] * said["secs"])


def _environment(broker: Broker) -> dict[str, str]:
    """The settings that were best for them: an allocator that keeps memory, and threads that do not spin."""
    allocator = ctypes.util.find_library("tcmalloc_minimal") or ""
    port = broker.url.rsplit(":", 1)[1].split("/")[0]
    return os.environ | {
        "ALLOC": allocator,
        "OMP_WAIT_POLICY": "PASSIVE",
        "SCORER_KIND": "torch",
        "SCORER_THREADS": str(cores()),
        "WARM": "32",
        "RP": port,
        "CEL_BROKER": broker.url,
    }
