"""Every number, text and path of a command line has a limit, and a refusal names it and the value."""

import click
import pytest
from click.testing import CliRunner

from worker.cli import root

LONG = "a/" * 5000


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["failures", "list", "--limit", "1" + "0" * 30], "is beyond the limit of 1000000000"),
        (["failures", "list", "--limit", "-1"], "-1 is not in the range"),
        (["cases", "show", "9" * 30], "is beyond the limit of 9223372036854775807"),
        (["cases", "list", "--after", "-9223372036854775809"], "is beyond the limit"),
        (["threshold", "set", "--value", "nan"], "nan is not a finite number"),
        (["rescore", "--rate", "inf"], "not in the range"),
        (["evaluate", "--checkpoint", LONG, "--manifest", "m.csv", "--out", "o"], "characters; the limit is 4096"),
        (["score", LONG], "characters; the limit is 4096"),
        (["image", "show", "x" * 20_001], "has 20001 characters; the limit is 20000"),
        (["image", "show", "a\0b"], "'a\\x00b' has a NUL character"),
        (["review", "draw", "--days", "1e300"], "not in the range"),
    ],
    ids=lambda value: None if isinstance(value, str) else " ".join(value)[:40],
)
def test_what_is_beyond_a_limit_is_wrong_use_that_names_it(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(root, arguments)
    assert (result.exit_code, len(result.output) < 1000) == (2, True), result.output
    assert message in result.output


def test_a_check_that_an_option_has_already_still_runs() -> None:
    from worker.commands.limits import limited

    def doubled(_context: click.Context, _option: click.Parameter, value: int) -> int:
        return 2 * value

    @click.command()
    @click.option("--n", type=int, callback=doubled)
    def say(*, n: int) -> None:
        click.echo(n)

    command = limited(limited(say))
    assert CliRunner().invoke(command, ["--n", "21"]).output == "42\n"
