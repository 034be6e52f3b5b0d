"""An application with a ``db.py``, a ``worker/``, Alembic and a table ``images`` of its own, in the same database."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest

from db.store.session import Database
from tests.clients.conftest import APPLICATION_SCHEMA, UNMASK_SCHEMA

PROJECT = Path(__file__).parents[2]
CLIENT = PROJECT / "deploy" / "clients" / "python"
APPLICATION = Path(__file__).parent / "application"


def run(url: str, *command: str) -> str:
    """In the application's folder, with its code and our client, and nothing else that is ours."""
    own_url = f"{url}&options=-csearch_path%3D{APPLICATION_SCHEMA}".replace("postgresql:", "postgresql+psycopg:")
    environment = os.environ | {
        "DATABASE_URL": own_url,
        "PYTHONPATH": os.pathsep.join([str(APPLICATION), str(CLIENT)]),
    }
    done = subprocess.run(
        [sys.executable, *command], cwd=APPLICATION, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def upload(url: str, path: str, image_id: str) -> dict[str, Any]:
    seen: dict[str, Any] = json.loads(run(url, "upload.py", path, image_id, UNMASK_SCHEMA))
    return seen


@pytest.fixture(params=["ours first", "the application's first"])
def shared_url(request: pytest.FixtureRequest, postgres_url: str) -> str:
    """A database that both have migrated, in either order."""
    with psycopg.connect(postgres_url, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA IF NOT EXISTS {APPLICATION_SCHEMA}".encode())
    if request.param == "ours first":
        _upgrade(postgres_url)
    run(postgres_url, "-m", "alembic", "upgrade", "head")
    if request.param != "ours first":
        _upgrade(postgres_url)
    return postgres_url


def _upgrade(url: str) -> None:
    database = Database(url)
    database.upgrade()
    database.close()


def test_an_upload_stores_its_own_row_and_ours_or_neither(shared_url: str) -> None:
    stored = upload(shared_url, "a.jpg", "image-1")
    assert stored["result"]["state"] == "pending"
    assert upload(shared_url, "a.jpg", "image-2")["result"] is None
    _check_modules([Path(path) for path in stored["modules"] if "site-packages" not in path])


def _check_modules(files: list[Path]) -> None:
    """Of all that is ours, the application imported the client alone."""
    ours = {file.relative_to(PROJECT).parts[:3] for file in files if file.is_relative_to(PROJECT)}
    assert ours == {("tests", "clients", "application"), ("deploy", "clients", "python")}
    assert {APPLICATION / "db.py", APPLICATION / "worker" / "__init__.py"} <= set(files)
