"""How far a long command is, where nobody sees a bar."""

import pytest

from db.commands.output import ProgressLines


@pytest.mark.parametrize(("quiet", "expected"), [(False, ["4 rows", "8 rows"]), (True, [])])
def test_a_line_comes_every_few_seconds_unless_it_is_not_wanted(
    capsys: pytest.CaptureFixture[str], quiet: bool, expected: list[str]
) -> None:
    now = [0.0]
    lines = ProgressLines(quiet=quiet, every_s=4, clock=lambda: now[0])
    for second in range(10):
        now[0] = float(second)
        lines.show(f"{second} rows")
    assert capsys.readouterr().err.splitlines() == expected
