"""``unmask review``: deciding cases in a terminal, by the rules that the console keeps too."""

import click

from db.commands.review import COMMANDS


@click.group()
def review() -> None:
    """Decide cases one after another, take decisions back, hear appeals, judge sampled photos."""


for command in COMMANDS:
    review.add_command(command)
