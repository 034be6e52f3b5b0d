"""Follows a fit while it runs: in TensorBoard where it is installed, and in MLflow where it is asked for.

The fit calls a tracker at each look (every 250 steps) with the mean loss since the last one and, where pictures are
watched, the validation loss and AUC.
"""

import logging
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError

log = logging.getLogger(__name__)

#: Called with the number of a step and the values found after it.
Tracker = Callable[[int, dict[str, float]], None]

#: The words of ``--track`` besides ``mlflow:URI``: TensorBoard where it is installed, nothing, TensorBoard or an error.
AUTO, NONE, TENSORBOARD = "auto", "none", "tensorboard"
_MLFLOW = "mlflow:"
#: The tag of an MLflow run that holds the digest of the fit: a fit that goes on goes on in the same run.
_RUN_TAG = "unmask.run"
_LONGEST_PARAMETER = 500
_MLFLOW_DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",  # it would report its use to a third party
    "MLFLOW_ALLOW_FILE_STORE": "true",  # it refuses folders unless told that they are meant
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # seven take minutes, in which the fit waits
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}


def check_track(word: str) -> None:
    """Raise `TrainerError` for a word that ``--track`` does not know, or for a package that is not installed."""
    if word not in (AUTO, NONE, TENSORBOARD) and not (word.startswith(_MLFLOW) and len(word) > len(_MLFLOW)):
        raise TrainerError(f"--track {word!r} is not {AUTO}, {NONE}, {TENSORBOARD} or mlflow:URI")
    if word == TENSORBOARD and not find_spec("tensorboard"):
        raise TrainerError("--track tensorboard needs TensorBoard: pip install 'unmask[tracking]'")
    if word.startswith(_MLFLOW) and not find_spec("mlflow"):
        raise TrainerError("--track mlflow needs MLflow: pip install 'unmask[tracking]'")


@contextmanager
def tracking(word: str, out: Path, name: str, run_id: str, settings: Mapping[str, str]) -> Iterator[Tracker]:
    """A tracker for the duration of the block, as ``--track`` asks: TensorBoard writes to ``out/tensorboard``.

    Raises `TrainerError` as `check_track` does, and for an MLflow server that does not answer.
    """
    check_track(word)
    with ExitStack() as stack:
        trackers: list[Tracker] = []
        if word != NONE and find_spec("tensorboard"):
            trackers.append(stack.enter_context(_tensorboard(out / "tensorboard")))
        if word.startswith(_MLFLOW):
            trackers.append(stack.enter_context(_mlflow(word.removeprefix(_MLFLOW), name, run_id, settings)))
        yield partial(_tell, trackers)


def _tell(trackers: list[Tracker], step: int, found: dict[str, float]) -> None:
    """Tell all trackers. One that fails is told no more: a fit does not depend on who follows it."""
    for tracker in list(trackers):
        try:
            tracker(step, found)
        except Exception:
            log.exception("the fit goes on, but is no longer tracked")
            trackers.remove(tracker)


@contextmanager
def _tensorboard(folder: Path) -> Iterator[Tracker]:
    from torch.utils.tensorboard import SummaryWriter

    writer: Any = None

    def track(step: int, found: dict[str, float]) -> None:
        nonlocal writer
        if writer is None:  # a killed fit may have written steps that its snapshot does not know
            writer = SummaryWriter(str(folder), purge_step=step)
        for what, value in found.items():
            writer.add_scalar(what, value, step)
        writer.flush()

    try:
        yield track
    finally:
        if writer is not None:
            writer.close()


@contextmanager
def _mlflow(uri: str, name: str, run_id: str, settings: Mapping[str, str]) -> Iterator[Tracker]:
    for variable, value in _MLFLOW_DEFAULTS.items():
        os.environ.setdefault(variable, value)
    from mlflow.exceptions import MlflowException
    from mlflow.tracking import MlflowClient

    try:
        client = MlflowClient(uri)
        run = _mlflow_run(client, name, run_id)
        for setting, value in settings.items():
            client.log_param(run, setting, value[:_LONGEST_PARAMETER])
    except (MlflowException, OSError) as error:
        raise TrainerError(f"--track mlflow:{uri} cannot be used: {str(error).splitlines()[0]}") from error

    def track(step: int, found: dict[str, float]) -> None:
        for what, value in found.items():
            client.log_metric(run, what, value, step=step)

    ended = "KILLED"
    try:
        yield track
        ended = "FINISHED"
    finally:
        with suppress(MlflowException, OSError):
            client.set_terminated(run, ended)


def _mlflow_run(client: Any, name: str, run_id: str) -> str:
    """The id of the MLflow run of this fit in the experiment "unmask": the one that has begun, or a new one."""
    found = client.get_experiment_by_name("unmask")
    experiment = found.experiment_id if found else client.create_experiment("unmask")
    begun = client.search_runs([experiment], f"tags.`{_RUN_TAG}` = '{run_id}'")
    if begun:
        client.set_terminated(begun[0].info.run_id, "RUNNING")
        return str(begun[0].info.run_id)
    return str(client.create_run(experiment, tags={_RUN_TAG: run_id}, run_name=name).info.run_id)
