"""Harm to Valkey: killed with and without what it kept, emptied, deaf, full, demoted; and messages of all sorts."""

import base64
import json
import subprocess
import sys
import uuid
from typing import Any

from tests.chaos.broker import QUEUE
from tests.chaos.fault import Fault
from tests.chaos.kinds import SERVED, SLOW, STEADY
from tests.chaos.world import LEASE_S, World


def _kill(world: World) -> None:
    world.broker.kill()
    world.pause(world.random.uniform(0.5, 3.0))
    world.broker.start()
    world.pause(1.0)


def _kill_and_forget(world: World) -> None:
    world.broker.kill()
    world.broker.forget()
    world.pause(world.random.uniform(0.5, 3.0))
    world.broker.start()
    world.pause(1.0)


def _flush(world: World) -> None:
    world.broker.client.flushall()


def _drop_clients(world: World) -> None:
    for kind in ("normal", "pubsub"):
        world.broker.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")


def _pause_clients(world: World) -> None:
    world.broker.client.execute_command("CLIENT", "PAUSE", 3000, "ALL")
    world.pause(3.0)


def _freeze(world: World) -> None:
    world.broker.freeze()
    world.pause(2 * LEASE_S)
    world.broker.thaw()


def _fill(world: World) -> None:
    """Run out of memory: it answers reads and refuses writes."""
    world.broker.client.config_set("maxmemory", 1)
    world.pause(3.0)
    world.broker.client.config_set("maxmemory", 0)


def _demote(world: World) -> None:
    """Make it a read-only replica, as after a failover that clients did not notice."""
    world.broker.client.execute_command("REPLICAOF", "127.0.0.1", "1")
    world.pause(3.0)
    world.broker.client.execute_command("REPLICAOF", "NO", "ONE")


def _echo(world: World) -> None:
    """Send each message four times."""
    world.load(STEADY, echo=3)
    world.pause(3.0)


def _nonsense(world: World) -> None:
    """Messages that no client of ours would send."""
    known = sorted(world.uploads.committed)
    nonsense: list[list[Any]] = [
        [["nobody"]],
        [known[:50] * 4],
        [[]],
        [[1, None]],
        ["text"],
        [["x" * 5000]],
        [["nul\0"]],
        [known[:1] * 2000],
        [],
        [1, 2, 3],
    ]
    for arguments in nonsense:
        world.broker.client.lpush(QUEUE, _message("worker.score_images", arguments))
    for task in ("worker.ingest_image", "worker.fulfil_requests", "os.system"):
        world.broker.client.lpush(QUEUE, _message(task, [["?"]]))
    world.some_uploads()


def _sweepers(world: World) -> None:
    """Two more sweepers at once, beside those of the workers."""
    command = [sys.executable, "-m", "worker", "sweep"]
    running = [subprocess.Popen(command, env=dict(world.environment), stderr=subprocess.DEVNULL) for _ in range(2)]
    world.until(lambda: all(process.poll() is not None for process in running), "both have swept")
    if any(process.returncode for process in running):
        raise RuntimeError(f"unmask sweep ended with {[process.returncode for process in running]}")


def _message(task: str, arguments: list[Any]) -> str:
    """As Celery writes it (protocol 2)."""
    body = json.dumps([arguments, {}, {"callbacks": None, "errbacks": None, "chain": None, "chord": None}])
    number = str(uuid.uuid4())
    return json.dumps(
        {
            "body": base64.b64encode(body.encode()).decode(),
            "content-encoding": "utf-8",
            "content-type": "application/json",
            "headers": {"lang": "py", "task": task, "id": number, "root_id": number, "retries": 0},
            "properties": {
                "correlation_id": number,
                "delivery_mode": 2,
                "delivery_info": {"exchange": "", "routing_key": "unmask"},
                "priority": 0,
                "body_encoding": "base64",
                "delivery_tag": str(uuid.uuid4()),
            },
        }
    )


KILL = Fault("Valkey: SIGKILL, back with its AOF", _kill, 2, 1, mix=SLOW)
KILL_AND_FORGET = Fault("Valkey: SIGKILL, back without AOF", _kill_and_forget, 3, 1)
FLUSH = Fault("Valkey: FLUSHALL", _flush, 8, 2)
DROP_CLIENTS = Fault("Valkey: CLIENT KILL of all", _drop_clients, 8, 2)
PAUSE_CLIENTS = Fault("Valkey: CLIENT PAUSE", _pause_clients, 2, 1)
FREEZE = Fault("Valkey: SIGSTOP, SIGCONT", _freeze, 1)
FILL = Fault("Valkey: out of memory", _fill, 2, 1)
DEMOTE = Fault("Valkey: read-only replica for a while", _demote, 2, 1)
ECHO = Fault("messages: each four times", _echo, 2, 1)
NONSENSE = Fault("messages: nonsense", _nonsense, 2, 1, mix=SERVED)
SWEEPERS = Fault("sweepers: two more at once", _sweepers, 3)
