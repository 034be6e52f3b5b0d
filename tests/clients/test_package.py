"""What is installed: one name, no dependency, nothing newer than Python 3.9, and a README whose examples run."""

import ast
import asyncio
import re
import subprocess
import sys
import textwrap
import tomllib
import zipfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from unmask_client import enqueue, result, transport

from tests.clients import installing
from tests.clients.conftest import UNMASK_SCHEMA, Record
from tests.clients.peer import Answer, listening, pending
from worker.background.webhooks import signed_headers

CLIENT = Path(__file__).parents[2] / "deploy" / "clients" / "python"
MODULES = sorted(CLIENT.glob("unmask_client/*.py"))
PROJECT_TABLE = tomllib.loads((CLIENT / "pyproject.toml").read_text())["project"]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_python_3_9_reads_it(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 9))


@pytest.mark.slow
def test_it_uses_nothing_that_python_3_9_has_not(tmp_path: Path) -> None:
    packages = installing.pip(tmp_path / "vermin", "vermin")
    check = [sys.executable, packages / "bin" / "vermin", "--no-tips", "-t=3.9-", "--violations"]
    command = [str(part) for part in [*check, *MODULES]]
    done = subprocess.run(command, env={"PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_it_imports_the_standard_library_and_itself_alone(path: Path) -> None:
    found = {name.partition(".")[0] for node in ast.walk(ast.parse(path.read_text())) for name in _imported(node)}
    assert found <= {*sys.stdlib_module_names, "unmask_client", "sqlalchemy"}
    top = {name.partition(".")[0] for node in ast.parse(path.read_text()).body for name in _imported(node)}
    assert "sqlalchemy" not in top


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    return [node.module or ""] if isinstance(node, ast.ImportFrom) else []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_wheel_brings_one_name_and_no_dependency(tmp_path: Path) -> None:
    installing.wheel(CLIENT, tmp_path)
    [wheel] = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    metadata = zipfile.ZipFile(wheel).read(next(name for name in names if name.endswith("METADATA"))).decode()
    info = f"unmask_client-{PROJECT_TABLE['version']}.dist-info"
    assert {name.partition("/")[0] for name in names} == {"unmask_client", info}
    assert {"unmask_client/py.typed", *(f"unmask_client/{path.name}" for path in MODULES)} <= set(names)
    assert "Requires-Python: >=3.9" in metadata
    assert "Requires-Dist" not in metadata


def test_the_server_hears_the_version_that_is_installed() -> None:
    assert f"unmask-client/{PROJECT_TABLE['version']} " in transport.USER_AGENT


class Base(DeclarativeBase):
    """The application's tables."""


class Photo(Base):
    """A photo of the application."""

    __tablename__ = "photos"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str | None]
    url: Mapped[str]


EXAMPLES = re.findall(r"```python\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)


def example(holding: str) -> str:
    [found] = [each for each in EXAMPLES if holding in each]
    return str(found)


def run(code: str, **names: Any) -> dict[str, Any]:
    """The names that an example leaves; one that awaits is run as such."""
    awaits = "await " in code
    source = f"{'async ' if awaits else ''}def example():\n{textwrap.indent(code, '    ')}\n    return locals()\n"
    exec(compile(source, "README.md", "exec"), names)  # noqa: S102 - our own README
    left = names["example"]()
    found: dict[str, Any] = asyncio.run(left) if awaits else left
    return found


@pytest.fixture
def photos(record: Record, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Photo]:
    """A photo of the application by its id, beside the table that it is stored in."""
    for function in (enqueue, result):
        assert function.__kwdefaults__ is not None
        monkeypatch.setitem(function.__kwdefaults__, "schema", UNMASK_SCHEMA)  # the examples name none
    engine = create_engine(alchemy(record))
    Base.metadata.create_all(engine)
    engine.dispose()
    return lambda image_id: Photo(id=image_id, account_id="ada", url=f"{image_id}.jpg")


def alchemy(record: Record) -> str:
    return record.url.replace("postgresql:", "postgresql+psycopg:")


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)
def test_the_examples_of_the_readme_enqueue_in_a_transaction(record: Record, photos: Callable[[str], Photo]) -> None:
    engine, engine_too = create_engine(alchemy(record)), create_async_engine(alchemy(record))
    run(
        example("\nwith Session(engine) as session, session.begin"), Session=Session, engine=engine, photo=photos("r-1")
    )
    found = run(example("found = result"), Session=Session, engine=engine, photo=photos("r-1"))["found"]
    assert (found["state"], found["flagged"]) == ("pending", None)
    names: dict[str, Any] = {"AsyncSession": AsyncSession, "engine": engine_too, "enqueue": enqueue}
    run(example("async with"), photo=photos("r-2"), **names)
    run(example("psycopg.connect"), psycopg=psycopg, database_url=record.url, photo=photos("r-3"), enqueue=enqueue)
    with engine.connect() as connection:
        stored = connection.scalars(text("SELECT id FROM photos WHERE id LIKE 'r-%' ORDER BY id")).all()
    engine.dispose()
    assert stored == ["r-1", "r-2", "r-3"]
    assert [record.row(image_id) for image_id in stored] == [
        ("ada", f"{image_id}.jpg", "default", "upload", "pending") for image_id in stored
    ]


def test_the_example_of_the_readme_asks_by_http() -> None:
    with listening() as peer:
        peer.answers = [Answer(202, pending), Answer(202, pending)]
        left = run(example("HttpClient").replace("https://unmask.example.com", peer.url), key="k", data=b"jpeg")
    assert len(left["image_id"]) == 32
    assert left["verdict"]["state"] == "pending"


@pytest.mark.parametrize(("body", "answer"), [("{}", None), ("{ }", 400)])
def test_the_example_of_the_readme_verifies_webhooks(body: str, answer: int | None) -> None:
    request = SimpleNamespace(headers=signed_headers(1, "{}", datetime.now(UTC), SECRET), body=body)
    left: Any = run(example("verify_webhook"), secret=SECRET, request=request)
    assert left == answer if answer else left["event"] == {}
