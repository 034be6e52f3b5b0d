"""The record works on the oldest PostgreSQL that we name (15) as on the newest (18, which all other tests use)."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import text

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.store.notifications import Notifications
from db.store.session import Database
from db.work import images, presence
from db.work.images import Failure, NewImage

PROJECT = Path(__file__).parents[2]
OLDEST = Path("/usr/lib/postgresql/15/bin")

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.skipif(not (OLDEST / "initdb").exists(), reason="PostgreSQL 15 is not installed"),
    pytest.mark.skipif(os.getuid() == 0 and not shutil.which("runuser"), reason="PostgreSQL does not run as root"),
]


@pytest.fixture(scope="module")
def old_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of an empty database on PostgreSQL 15."""
    folder = Path(tmp_path_factory.mktemp("pg15"))
    user = ["runuser", "-u", "nobody", "--"] if os.getuid() == 0 else []
    if user:
        shutil.chown(folder, "nobody")
        for above in folder.parents:
            if above.owner() == "root" and str(above).startswith("/tmp/"):  # noqa: S108 - pytest made it
                above.chmod(above.stat().st_mode | 0o011)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]

    def run(*words: str) -> None:
        subprocess.run([*user, *words], check=True, cwd="/", stdout=subprocess.DEVNULL)

    run(str(OLDEST / "initdb"), "-N", "-A", "trust", "-U", "postgres", "-D", f"{folder}/data")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off"
    run(str(OLDEST / "pg_ctl"), "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
    yield f"postgresql://postgres@127.0.0.1:{port}/postgres"
    run(str(OLDEST / "pg_ctl"), "-D", f"{folder}/data", "-m", "immediate", "stop")


def test_the_schema_the_roles_and_an_image_s_whole_way_work_on_postgresql_15(old_server: str) -> None:
    database = Database(old_server)
    database.upgrade()
    database.upgrade()
    database.check_schema()
    with psycopg.connect(old_server) as connection:
        assert connection.info.server_version // 10_000 == 15
        connection.execute((PROJECT / "deploy" / "sql" / "roles.sql").read_text().encode())
    heard = Notifications(database)
    heard.wait(0.1)
    with database.writing() as session:
        version = versions.register(session, "first", "1" * 64, "unmask-1", {})
        thresholds.set_value(session, version.id, "default", 0.5, "ada", "")
        presence.report_alive(session, "worker")
        images.add_images(session, [NewImage(name, "acc", f"{name}.jpg") for name in ("a", "b")], 0)
        number = version.id
    assert heard.wait(5)
    heard.close()
    with database.writing() as session:
        assert len(images.lease(session, ["a", "b"], "worker", 60)) == 2
        images.record_failures(session, [Failure("b", "truncated", "")], "worker")
        scored = Scored("a", "default", 0.9, "2" * 64, 1, 100, 100)
        scores.record(session, [scored], Provenance(number, "eager", "cpu"))
    with database.reading() as session:
        found = session.execute(text("SELECT image_id, state, flagged FROM unmask.results ORDER BY image_id")).all()
        assert presence.alive_workers(session) == ["worker"]
    database.close()
    assert [tuple(row) for row in found] == [("a", "scored", True), ("b", "unusable", None)]
