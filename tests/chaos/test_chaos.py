"""Whatever is killed, no image is lost and none is scored twice: the short version of ``make chaos``."""

from pathlib import Path

import pytest

from tests.chaos.run import run

pytestmark = [pytest.mark.chaos, pytest.mark.timeout(1800)]

SEED = 4


@pytest.mark.parametrize("kind", ["postgresql", "sqlite"])
def test_nothing_is_lost_and_nothing_is_scored_twice_whatever_dies(kind: str, tmp_path: Path) -> None:
    rows = list(run(kind, SEED, tmp_path, quick=True, workers=2))

    assert [row for row in rows if not row.is_clean] == []
    assert all(row.images > 0 for row in rows[:-1])
    assert any(row.again > 0 for row in rows if "SIGKILL" in row.fault), "no worker had anything in hand when it died"
