"""The root command of ``python -m trainer``; ``unmask`` has the same commands, and calls ``fit`` ``train``."""

import click

from trainer.commands.convert import convert
from trainer.commands.engine import engine
from trainer.commands.evaluate import evaluate
from trainer.commands.explain import explain
from trainer.commands.export import export
from trainer.commands.fit import fit
from trainer.commands.fuse import fuse
from trainer.commands.manifest import manifest
from trainer.commands.quantise import quantise
from trainer.commands.report import report
from trainer.commands.robustness import robustness

#: In the order in which people meet them.
COMMANDS = (fit, manifest, evaluate, robustness, fuse, quantise, explain, engine, convert, export, report)


class _WholeHelpGroup(click.Group):
    """A group whose help never cuts a sentence; as `db.commands.group`, which this room may not import."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list in --help."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, each.get_short_help_str(10_000)) for name, each in self.commands.items()])


@click.group(cls=_WholeHelpGroup)
def root() -> None:
    """Fit and measure detectors of AI-generated faces."""


for _command in COMMANDS:
    root.add_command(_command)
