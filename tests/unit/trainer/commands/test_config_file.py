"""Config files: the words of the command line, which go before them; unknown words are refused."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from trainer.commands.config_file import config_option, option_names, read_config, write_config
from trainer.commands.evaluate import evaluate
from trainer.commands.fit import fit
from trainer.commands.robustness import robustness
from trainer.errors import TrainerError


@click.command
@config_option
@click.option("--manifest", type=click.Path(path_type=Path), required=True)
@click.option("--steps", type=click.IntRange(1), default=10)
@click.option("--learning-rate", type=float, default=0.1)
@click.option("--name", default="detector")
@click.option("--weights")
@click.option("--half", is_flag=True)
@click.pass_context
def command(context: click.Context, /, **values: Any) -> None:
    click.echo(f"{sorted((name, str(value)) for name, value in values.items())}")
    click.echo(write_config(context.command, values), err=True)


def ran(*arguments: str) -> Any:
    return CliRunner().invoke(command, arguments, catch_exceptions=True)


def config(folder: Path, text: str) -> str:
    (folder / "run.toml").write_text(text)
    return str(folder / "run.toml")


def test_the_command_line_goes_before_the_file_and_the_file_before_the_defaults(tmp_path: Path) -> None:
    file = config(tmp_path, 'manifest = "m.csv"\nsteps = 20\nlearning-rate = 0.5\nhalf = true\n')

    found = ran("--config", file, "--steps", "30")

    assert found.exit_code == 0, found.output
    for told in ("('manifest', 'm.csv')", "('steps', '30')", "('learning_rate', '0.5')", "('half', 'True')"):
        assert told in found.stdout
    assert "('name', 'detector')" in found.stdout


def test_what_was_written_gives_the_same_again(tmp_path: Path) -> None:
    first = ran("--manifest", "m.csv", "--name", 'a "name"\\ of ours, ü', "--half", "--learning-rate", "1e-05")

    again = ran("--config", config(tmp_path, first.stderr))

    assert again.stdout == first.stdout
    assert again.stderr == first.stderr
    assert "weights" not in first.stderr


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0")))
def test_any_text_can_be_written_and_read(name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "run.toml"
        path.write_text(write_config(command, {"name": name}), encoding="utf-8")

        assert read_config(path, command) == {"name": name}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("stepz = 3", r"run\.toml has an unknown word 'stepz': did you mean 'steps'\?"),
        ("learning_ratte = 3", r"an unknown word 'learning_ratte': did you mean 'learning-rate'\?"),
        ("zzz = 3\nyyy = 4", r"an unknown word 'zzz': it knows manifest, steps, .*; an unknown word 'yyy'"),
        ("config = 'x'", "an unknown word 'config'"),
        ("steps = ", r"run\.toml is not TOML: "),
        ("[steps]\na = 1", "steps takes one value, not {'a': 1}"),
        ("steps = [1, 2]", r"steps takes one value, not \[1, 2\]"),
    ],
)
def test_what_no_command_knows_is_refused(text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=message):
        read_config(Path(config(tmp_path, text)), command)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"config file .*none\.toml cannot be read: No such file"):
        read_config(tmp_path / "none.toml", command)


@pytest.mark.parametrize("text", ["steps = 1.5", "steps = 'x'", "steps = 0"])
def test_values_are_checked_as_on_the_command_line(text: str, tmp_path: Path) -> None:
    found = ran("--manifest", "m.csv", "--config", config(tmp_path, text))

    assert found.exit_code == 2
    assert "Invalid value for '--steps'" in found.output


@pytest.mark.parametrize("known", [fit, evaluate, robustness])
def test_each_long_command_takes_its_options_from_a_file(known: click.Command) -> None:
    words = option_names(known)

    assert {"manifest", "out", "device", "skip-unreadable"} <= words.keys()
    assert not {"config", "help", "quiet"} & words.keys()
