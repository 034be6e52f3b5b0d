"""Starts the ranks of a run on this machine, as torchrun does, and says in one line why a run failed.

torchrun itself prints what each rank says, its own traceback and a table. No torch here until ranks are started.
"""

import json
import logging
import os
import signal
import sys
import time
import uuid
from collections.abc import Sequence
from pathlib import Path

import click

#: Set for ranks that `launch` has started, and torchrun's variable: the file to which a rank writes why it failed.
_LAUNCHED, _ERROR_FILE = "TRAINER_LAUNCHED", "TORCHELASTIC_ERROR_FILE"
#: The exit status where a signal ended a rank.
_KILLED = 1


def launch(ranks: int, arguments: Sequence[str]) -> int:
    """Run ``python -m trainer`` with these arguments in so many ranks; returns the exit status for this process.

    Of ranks that fail, the first one's error is written to stderr, in one line.
    """
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed").setLevel(logging.CRITICAL)
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # as torchrun: ranks share the cores
    os.environ[_LAUNCHED] = "1"
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=ranks,
        run_id=uuid.uuid4().hex,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "trainer", *arguments)
    except SignalException:  # the ranks were told, too, and have saved what they had
        return 0
    except ChildFailedError as error:
        rank, failure = error.get_first_failure()
        return _told(rank, failure.exitcode, failure.message if Path(failure.error_file).is_file() else "")
    return 0


def tell_launcher(message: str) -> bool:
    """Tell the process that started this rank why it fails, so that it is said once; False if none asks for it."""
    path = os.environ.get(_ERROR_FILE)
    if path is None or _LAUNCHED not in os.environ:
        return False
    Path(path).write_text(json.dumps({"message": message, "timestamp": int(time.time())}))
    return True


def _told(rank: int, exit_code: int, message: str) -> int:
    """Write the line for a failed rank; without a message the rank has said itself why. Returns the exit status."""
    if message:
        click.echo(f"Error: {message}", err=True)
    elif exit_code < 0:
        click.echo(f"Error: rank {rank} was ended by {signal.Signals(-exit_code).name}", err=True)
    return exit_code if exit_code > 0 else _KILLED
