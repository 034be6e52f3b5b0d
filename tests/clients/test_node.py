"""The client for Node, installed as a user installs it, beside the public libraries `pg` and `standardwebhooks`."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from db.policy.verdicts import Outcome, PhotoVerdict
from db.schema import ID_LENGTH, LANES
from db.work.deliveries import LeasedDelivery
from tests.clients import installing
from tests.clients.conftest import Record
from tests.clients.peer import Answer, listening, pending
from tests.unit.db.api.doors import make_key, running
from worker import client
from worker.background.events import image_event
from worker.background.webhooks import signed_headers

CLIENT = Path(__file__).parents[2] / "deploy" / "clients" / "node"
TESTS = Path(__file__).parent / "node"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - the scheme's own example
#: What a worker sends of a photo.
EVENT = image_event(
    LeasedDelivery(1, "image.scored", datetime(2026, 1, 1, tzinfo=UTC), 1, image_id="é"),
    Outcome(PhotoVerdict("é", "scored", 0.9, True, 0.5, 1000.0, "first", None), "ada", None, None),  # noqa: FBT003
).model_dump_json()
LIBRARIES = ["pg", "standardwebhooks", "typescript", "@types/node", "@types/pg"]

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="session")
def application(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Node application that installed the client from the file that `npm pack` makes."""
    folder = tmp_path_factory.mktemp("node")
    (folder / "package.json").write_text('{"name": "application", "private": true, "type": "module"}')
    shutil.copytree(TESTS, folder, dirs_exist_ok=True)
    installing.npm(folder, installing.npm_pack(CLIENT, folder), *LIBRARIES)
    return folder


@pytest.fixture
def run(application: Path, record: Record) -> Callable[..., str]:
    """``run("node", ...)`` in the application's folder, with the record in its environment."""

    def start(*command: str, **more: str) -> str:
        headers = signed_headers(1, EVENT, datetime.now(UTC), SECRET)
        environment = os.environ | {
            "DATABASE_URL": record.url,
            "SCHEMA": record.schema,
            "SIGNED": json.dumps({"headers": headers, "body": EVENT}),
        }
        done = subprocess.run(
            command, cwd=application, env=environment | more, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return start


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)
@pytest.mark.parametrize("path", sorted(path.name for path in TESTS.glob("*.test.js")))
def test_what_it_says_it_does(run: Callable[..., str], record: Record, path: str) -> None:
    with running(record.database, make_key(record.database, name=path)) as door:
        said = run("node", "--test", "--test-reporter=tap", path, DOOR_URL=door.url, DOOR_KEY=door.key)
    assert "# fail 0" in said


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)
def test_typescript_knows_its_types(run: Callable[..., str]) -> None:
    options = ["--noEmit", "--strict", "--module", "nodenext", "--target", "es2022", "--types", "node"]
    run("node", "node_modules/typescript/bin/tsc", *options, "typed.ts")


EXAMPLES = re.findall(r"```js\n(.*?)```", (CLIENT / "README.md").read_text(), re.DOTALL)
#: What stands around an example: a connection, a photo, and a request.
BEFORE = """
import pg from "pg";
const client = new pg.Client({ connectionString: process.env.DATABASE_URL });
await client.connect();
await client.query(`SET search_path = ${process.env.SCHEMA}`);
await client.query("CREATE TEMPORARY TABLE photos (id text PRIMARY KEY, url text)");
const photo = { id: `readme-${process.pid}`, accountId: "ada", url: "a.jpg" };
const [key, bytes, secret] = ["k", Buffer.from("jpeg"), process.env.SECRET];
const request = JSON.parse(process.env.SIGNED);
"""
AFTER = """
await client.end();
"""
#: The examples name no schema.
NAMED = {
    "enqueue(client, {": "enqueue(client, { schema: process.env.SCHEMA,",
    "result(client, photo.id)": "result(client, photo.id, { schema: process.env.SCHEMA })",
}


@pytest.mark.parametrize("record", ["postgresql"], indirect=True)
@pytest.mark.parametrize("example", EXAMPLES, ids=range(len(EXAMPLES)))
def test_the_examples_of_the_readme_run(run: Callable[..., str], application: Path, example: str) -> None:
    with listening() as peer:
        peer.answers = [Answer(202, pending), Answer(202, pending)]
        code = example.replace("https://unmask.example.com", peer.url)
        for plain, named in NAMED.items():
            code = code.replace(plain, named)
        (application / "example.js").write_text(BEFORE + code + AFTER)
        run("node", "example.js", SECRET=SECRET)


def test_the_limits_are_those_of_the_record() -> None:
    source = (CLIENT / "lib" / "photo.js").read_text()
    assert f"MAX_ID = {ID_LENGTH};" in source
    assert f"MAX_URL = {client.MAX_URL};" in source
    assert f"LANES = {json.dumps(LANES)};" in source


def test_the_server_hears_the_version_that_is_installed() -> None:
    version = json.loads((CLIENT / "package.json").read_text())["version"]
    assert f'"unmask-client/{version} (Node)"' in (CLIENT / "lib" / "http.js").read_text()


def test_it_depends_on_nothing() -> None:
    package = json.loads((CLIENT / "package.json").read_text())
    assert not {name for name in package if "ependencies" in name}
    imported = {name for path in CLIENT.glob("**/*.js") for name in re.findall(r'from "([^.][^"]*)"', path.read_text())}
    assert imported == {"node:crypto"}
