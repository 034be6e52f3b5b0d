"""Trackers: what TensorBoard and MLflow are told of a fit, and that a fit depends on neither."""

from pathlib import Path
from typing import Any

import pytest

from trainer.errors import TrainerError
from trainer.runs.tracking import check_track, tracking

FOUND = {"loss": 0.5, "validation_loss": 0.6, "validation_auc": 0.9}


@pytest.mark.parametrize("word", ["", "wandb", "mlflow", "mlflow:", "Auto"])
def test_an_unknown_word_is_refused(word: str) -> None:
    with pytest.raises(TrainerError, match=rf"^--track '{word}' is not auto, none, tensorboard or mlflow:URI$"):
        check_track(word)


def test_none_follows_nothing(tmp_path: Path) -> None:
    with tracking("none", tmp_path, "mine", "a" * 64, {}) as track:
        track(250, FOUND)

    assert list(tmp_path.iterdir()) == []


def test_tensorboard_shows_each_value_by_its_step(tmp_path: Path) -> None:
    events: Any = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    with tracking("auto", tmp_path, "mine", "a" * 64, {}) as track:
        track(250, FOUND)
        track(500, FOUND | {"loss": 0.4})

    told = events.EventAccumulator(str(tmp_path / "tensorboard")).Reload()

    assert set(told.Tags()["scalars"]) == set(FOUND)
    assert [(event.step, round(event.value, 3)) for event in told.Scalars("loss")] == [(250, 0.5), (500, 0.4)]


def test_a_resumed_fit_goes_on_in_the_same_mlflow_run(tmp_path: Path) -> None:
    client_of: Any = pytest.importorskip("mlflow.tracking").MlflowClient
    word = f"mlflow:{(tmp_path / 'store').as_uri()}"
    for step in (250, 500):
        with tracking(word, tmp_path, "mine", "a" * 64, {"seed": "3"}) as track:
            track(step, FOUND)
    with tracking(word, tmp_path, "other", "b" * 64, {}) as track:
        track(250, FOUND)

    client = client_of((tmp_path / "store").as_uri())
    found = client.search_runs([client.get_experiment_by_name("unmask").experiment_id])
    runs = {run.info.run_name: run for run in found}
    history = client.get_metric_history(runs["mine"].info.run_id, "validation_auc")
    assert set(runs) == {"mine", "other"}
    assert runs["mine"].data.params == {"seed": "3"}
    assert runs["mine"].info.status == "FINISHED"
    assert [metric.step for metric in history] == [250, 500]


def test_a_fit_that_is_stopped_is_no_finished_run(tmp_path: Path) -> None:
    client_of: Any = pytest.importorskip("mlflow.tracking").MlflowClient
    uri = (tmp_path / "store").as_uri()
    with pytest.raises(KeyboardInterrupt), tracking(f"mlflow:{uri}", tmp_path, "mine", "a" * 64, {}):
        raise KeyboardInterrupt

    (run,) = client_of(uri).search_runs([client_of(uri).get_experiment_by_name("unmask").experiment_id])
    assert run.info.status == "KILLED"


def test_a_store_that_is_no_store_is_named_before_the_fit(tmp_path: Path) -> None:
    pytest.importorskip("mlflow")
    (tmp_path / "file").write_text("no folder")

    with (
        pytest.raises(TrainerError, match=r"^--track mlflow:file:///.*/file cannot be used: .+$"),
        tracking(f"mlflow:{(tmp_path / 'file').as_uri()}", tmp_path, "mine", "a" * 64, {}),
    ):
        pytest.fail("it was used")


def test_a_tracker_that_fails_is_told_no_more_and_the_fit_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("tensorboard")
    (tmp_path / "tensorboard").write_text("a file where the folder should be")

    with tracking("tensorboard", tmp_path, "mine", "a" * 64, {}) as track:
        track(250, FOUND)
        track(500, FOUND)

    assert caplog.text.count("the fit goes on, but is no longer tracked") == 1
