"""A worker behind its queue, from the upload to the score in SQL: against the bare loop, and against other servers.

Photos by path, 16 a batch, one image a message: a backlog against the bare loop, and 32 in flight against peers. The
bare loop has the same engine; peers have PyTorch, as "eager" has, and the best of them beside that is the one that the
other engine is measured beside.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

import click

from tests.benchmarks import detectors, peers
from tests.benchmarks.contestants import Bare, Ours, Uploads, bare
from tests.benchmarks.cost import Cost, cpu_s, peak_mb
from tests.benchmarks.measured import Measured, average, difference, in_turns, ratio
from tests.benchmarks.stand import Stand, stand

#: Images in a round, several times what is in flight: a round's end, with less of it, is slower.
IMAGES, TINY_IMAGES = 128, 320
#: About as many as a peer gets through in its time: both sides of a round fill up and run empty once.
PEER_IMAGES, PEER_S = 224, 12.0
ROUNDS, PEER_ROUNDS = 6, 3
_IDLE_S = 5.0

#: Engines by what they are called in the table, with what their keys end in.
ENGINES = {"eager": "_eager", "openvino": ""}
_TO_BARE = "≥ 0.97"
_TO_PEERS = {"openvino": "≥ 1.25", "eager": "≥ 1"}


def measure() -> list[Measured]:
    """Images a second and processor time, in pairs of rounds."""
    if why := peers.missing():
        click.echo(f"worker: no peers, {why}", err=True)
    rivals = [] if peers.missing() else list(peers.NAMES)
    found: list[Measured] = []
    with stand(detectors.FULL) as place:
        for engine in ENGINES:
            measured, rivals = _engine(place, engine, rivals)
            found += measured
    with stand(detectors.TINY) as place:
        return found + _overhead(place)


def _engine(place: Stand, engine: str, rivals: Sequence[str]) -> tuple[list[Measured], list[str]]:
    """What was found, and the best of the rivals."""
    key = ENGINES[engine]
    with _contest(place, engine) as (ours, loop):
        rounds = in_turns(lambda: ours.backlog(IMAGES), lambda: loop.cost(IMAGES), ROUNDS)
        beside, best = _peers(place, engine, lambda: ours.cost(PEER_IMAGES), rivals) if rivals else ([], [])
        memory_mb = peak_mb(ours.pid)
    rates = [(backlog.rate, alone.rate) for backlog, alone in rounds]
    costs = [(backlog.cpu_ms, alone.cpu_ms) for backlog, alone in rounds]
    name = f"worker, {engine}"
    found = [
        average(name, "images/s", [one for one, _ in rates], key=f"images_per_s{key}"),
        average(f"bare loop, {engine}", "images/s", [two for _, two in rates], key=f"bare_images_per_s{key}"),
        ratio(f"{name}: images/s of the bare loop", rates, _TO_BARE, f"ratio_to_bare{key}"),
        ratio(f"{name}: processor time of the bare loop", costs, key=f"cpu_ratio_to_bare{key}"),
        *beside,
        Measured(f"worker, {engine}: memory at its peak", memory_mb, "MB", limit="≤ 1300 MB", key=f"peak_mb{key}"),
    ]
    return found, best


def _peers(
    place: Stand, engine: str, ours: Callable[[], Cost], rivals: Sequence[str]
) -> tuple[list[Measured], list[str]]:
    """Against each; and the least ratio, which is to the best of them."""
    found, ratios = [], {}
    for name in rivals:
        pairs = [(ours().rate, peers.cost(name, place.photos, PEER_S).rate) for _ in range(PEER_ROUNDS)]
        ratios[name] = ratio(f"worker, {engine}: images/s of {peers.NAMES[name]}", pairs)
        found += [average(peers.NAMES[name], "images/s", [two for _, two in pairs]), ratios[name]]
    best = min(ratios, key=lambda name: ratios[name].value)
    named = replace(
        ratios[best],
        name=f"worker, {engine}: images/s of the best peer",
        limit=_TO_PEERS[engine],
        key=f"ratio_to_best_peer{ENGINES[engine]}",
    )
    return [*found, named], [best]


def _overhead(place: Stand) -> list[Measured]:
    """What an image costs beside fetch, decoding and forward pass: plain where these are small, and nothing spins."""
    with _contest(place, "eager", OMP_NUM_THREADS="1") as (ours, loop):
        pairs = in_turns(lambda: ours.backlog(TINY_IMAGES), lambda: loop.cost(TINY_IMAGES), ROUNDS)
        start, before_s = time.perf_counter(), cpu_s(ours.pid)
        time.sleep(_IDLE_S)
        idle_ms = 1000 * (cpu_s(ours.pid) - before_s) / (time.perf_counter() - start)
    costs = [(one.cpu_ms, two.cpu_ms) for one, two in pairs]
    name = "worker: an image's processor time beside fetch, decoding and forward pass"
    return [
        difference(name, "ms", costs, "≤ 1 ms", "overhead_ms"),
        Measured("worker: processor time while nothing happens", idle_ms, "ms/s", key="idle_ms_per_s"),
    ]


@contextmanager
def _contest(place: Stand, engine: str, **environment: str) -> Iterator[tuple[Ours, Bare]]:
    with place.worker(UNMASK_ENGINE=engine, **environment) as worker, bare(place, engine, **environment) as loop:
        yield Ours(worker, Uploads(place)), loop
