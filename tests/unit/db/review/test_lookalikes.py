"""Cases of one photo find each other by the hashes of their flagged photos, whoever's account, mirrored or not."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner
from sqlalchemy import select
from sqlalchemy.orm import Session

from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.privacy import erasure
from db.review import lookalikes
from db.review.lookalikes import HASH_BYTES
from db.schema import Case, PerceptualHash
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from worker.cli import root

FACE = bytes(range(HASH_BYTES))
MIRROR = bytes(reversed(range(100, 100 + HASH_BYTES)))
OTHER = bytes(255 - byte for byte in FACE)
pytestmark = pytest.mark.both  # databases can differ here


def near(face: bytes, bits: int) -> bytes:
    """The same but for so many bits."""
    return (int.from_bytes(face) ^ ((1 << bits) - 1)).to_bytes(HASH_BYTES)


@pytest.fixture
def version(database: Database) -> int:
    with database.writing() as session:
        version = versions.register(session, "m", "1" * 64, "unmask-1", {}).id
        thresholds.set_value(session, version, "default", 0.5, "ada", "")
    return version


def flag(database: Database, version: int, account: str, looks: bytes | None, score: float = 0.9) -> int | None:
    """A photo of an account, as a worker records it; the account's case."""
    image_id = f"{account}-photo"
    with database.writing() as session:
        images.add_images(session, [NewImage(image_id, account, "u")], 60)
        found = Scored(image_id, "default", score, "f" * 64, 1, 64, 64, looks=looks)
        scores.record(session, [found], Provenance(version, "eager", "cpu"))
        return session.scalar(select(Case.id).where(Case.account_id == account))


def alike(session: Session, case_id: int, **limits: int) -> list[tuple[int, str | None, int]]:
    """Case, account and bits of each."""
    found = lookalikes.find_lookalikes(session, case_id, **limits)
    return [(one.case.case_id, one.case.account_id, one.bits) for one in found]


def test_cases_with_a_photo_that_differs_in_few_bits_are_found_the_most_alike_first(
    database: Database, version: int
) -> None:
    first = flag(database, version, "a", FACE + MIRROR)
    far = flag(database, version, "b", near(FACE, 24) + near(MIRROR, 24))
    close = flag(database, version, "c", near(FACE, 3) + MIRROR)
    flag(database, version, "d", near(FACE, 25) + bytes(HASH_BYTES))
    flag(database, version, "e", OTHER + OTHER)
    assert first is not None
    with database.reading() as session:
        assert alike(session, first) == [(close, "c", 3), (far, "b", 24)]
        assert alike(session, first, max_bits=3) == [(close, "c", 3)]
        assert alike(session, first, limit=1) == [(close, "c", 3)]


def test_a_mirrored_photo_is_the_same_photo(database: Database, version: int) -> None:
    first = flag(database, version, "a", FACE + MIRROR)
    mirrored = flag(database, version, "b", MIRROR + FACE)
    assert first is not None
    with database.reading() as session:
        assert alike(session, first) == [(mirrored, "b", 0)]
        assert [[member.case_id for member in group] for group in lookalikes.find_clusters(session)] == [
            [first, mirrored]
        ]


def test_a_cluster_is_of_several_accounts_and_joins_what_is_alike_by_another(database: Database, version: int) -> None:
    ids = [flag(database, version, f"a{n}", near(FACE, 20 * n) + OTHER) for n in range(3)]
    flag(database, version, "alone", bytes(HASH_BYTES) * 2)
    with database.reading() as session:
        assert [[member.case_id for member in group] for group in lookalikes.find_clusters(session)] == [ids]
        assert lookalikes.find_clusters(session, max_bits=10) == []


def test_nobody_is_alike_where_nobody_is(database: Database) -> None:
    with database.reading() as session:
        assert alike(session, 1) == []
        assert lookalikes.find_clusters(session) == []


def test_only_flagged_photos_are_remembered_and_a_forgotten_account_s_are_not(database: Database, version: int) -> None:
    flag(database, version, "real", FACE + MIRROR, score=0.1)
    flag(database, version, "ada", FACE + MIRROR)
    flag(database, version, "without", None)
    with database.reading() as session:
        assert session.scalars(select(PerceptualHash.image_id)).all() == ["ada-photo"]
    erasure.erase_account(database, "ada")
    with database.reading() as session:
        assert session.scalars(select(PerceptualHash.image_id)).all() == []


def test_the_command_lists_clusters_and_needs_the_index_only_when_it_runs(
    database: Database, version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UNMASK_DATABASE_URL", database.url.render_as_string(hide_password=False))
    flag(database, version, "a", FACE + MIRROR)
    flag(database, version, "b", FACE + MIRROR)
    result = CliRunner().invoke(root, ["cases", "clusters", "--json"], catch_exceptions=False)
    assert [(row["cluster"], row["account"]) for row in json.loads(result.stdout)] == [(1, "a"), (1, "b")]


def test_the_index_is_not_loaded_with_the_record() -> None:
    modules = "db.review.lookalikes, db.policy.scores"
    program = f"import sys, {modules}; print('faiss' in sys.modules, 'numpy' in sys.modules)"
    root_folder = Path(__file__).parents[4]
    done = subprocess.run([sys.executable, "-c", program], cwd=root_folder, capture_output=True, text=True, check=True)
    assert done.stdout == "False False\n"
