"""The app is found by its name, loses nothing that it can keep, and takes its broker from the settings."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from celery.app.utils import find_app

from worker.broker.app import app
from worker.core.settings import WorkerSettings

ROOT = Path(__file__).parents[4]


def test_celerys_own_command_finds_the_app() -> None:
    assert find_app("worker") is app


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("worker_pool", "threads"),
        ("accept_content", ["json"]),
        ("task_serializer", "json"),
        ("task_acks_late", True),
        ("task_acks_on_failure", True),
        ("task_acks_on_timeout", True),
        ("task_ignore_result", True),
        ("worker_prefetch_multiplier", 1),
        ("broker_connection_max_retries", None),
        ("broker_channel_error_retry", True),
        ("broker_connection_retry_on_startup", True),
    ],
)
def test_what_must_not_be_lost_or_hang_is_configured(name: str, value: Any) -> None:
    assert app.conf[name] == value


def test_a_message_is_not_handed_to_somebody_else_while_its_image_is_in_hand() -> None:
    assert WorkerSettings().lease_s < WorkerSettings().visibility_timeout_s
    assert app.conf.broker_transport_options["visibility_timeout"] == WorkerSettings().visibility_timeout_s


@pytest.mark.usefixtures("broker")
def test_whoever_dies_while_it_brings_messages_back_holds_up_the_next_for_seconds() -> None:
    with app.connection() as connection:
        channel: Any = connection.default_channel
        assert channel.unacked_mutex_expire == 10


def test_the_broker_comes_from_the_settings_and_its_url_may_be_a_secret_file(tmp_path: Path) -> None:
    (tmp_path / "broker").write_text("redis://:secret@elsewhere:6380/2\n")
    program = "from worker.broker.app import app; print(app.conf.broker_url)"
    environ = {"UNMASK_BROKER_URL_FILE": str(tmp_path / "broker")}
    asked = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environ, capture_output=True, text=True, check=True
    )
    assert asked.stdout == "redis://:secret@elsewhere:6380/2\n"


@pytest.mark.parametrize(("given", "expected"), [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE")])
def test_threads_that_have_nothing_to_do_sleep_in_workers_unless_told_otherwise(
    given: dict[str, str], expected: str
) -> None:
    program = """
import os, sys
from worker.broker.app import app
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
app.loader.import_default_modules()
print(os.environ.get("OMP_WAIT_POLICY"), "torch" in sys.modules)
"""
    kept = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    done = subprocess.run([sys.executable, "-c", program], env=kept | given, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == [f"{given.get('OMP_WAIT_POLICY')} False", f"{expected} True"]
