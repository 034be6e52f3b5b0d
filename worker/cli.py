"""The root command. It imports nothing heavy until a command runs, so that ``unmask --help`` answers at once."""

import os
import sys
from importlib import import_module

import click

from worker.commands.limits import limited

#: word: (where its command is, the first sentence of its help, which a test compares). Torch, Celery and SQLAlchemy are
#: imported only by the command that needs them.
COMMANDS = {
    "score": ("worker.commands.score:score", "Score photos here and now: 0 is real, 1 is AI-generated."),
    "inspect": (
        "worker.commands.inspect:inspect_command",
        "Show what photos' files say of their origin: manifests, source types, generators, cameras.",
    ),
    "enqueue": (
        "worker.commands.enqueue:enqueue_command",
        "Enqueue photos for scoring; prints the image's id, or how many photos of a manifest are new.",
    ),
    "worker": (
        "worker.commands.worker:worker",
        "Run a worker: take images from the queue, score them in batches, record scores and flags.",
    ),
    "status": ("worker.commands.status:status", "Show what waits, what was scored, what failed, and the active model."),
    "health": (
        "worker.commands.health:health",
        "Show the health of this machine's workers; exits with 1 unless there are some and all are well.",
    ),
    "sweep": (
        "worker.commands.sweep:sweep",
        "Send images that are due to the workers once, as the relay does each second.",
    ),
    "image": ("db.commands.image:image", "One photo: its state and verdict."),
    "failures": ("db.commands.failures:failures_group", "Images that could not be scored, each with its reason."),
    "train": ("trainer.commands.fit:fit", "Fit a detector on labelled photos."),
    "manifest": ("trainer.commands.manifest:manifest", "Make and check a manifest of a folder of photos."),
    "evaluate": ("trainer.commands.evaluate:evaluate", "Measure a detector engine by engine."),
    "robustness": ("trainer.commands.robustness:robustness", "Measure a detector on degraded photos."),
    "fuse": (
        "trainer.commands.fuse:fuse",
        "Join two detectors into one that needs both: a photo is flagged only when both find it suspicious.",
    ),
    "quantise": ("trainer.commands.quantise:quantise", "Make a detector that computes in 8 bits, for CPUs."),
    "explain": ("trainer.commands.explain:explain", "Show which parts of a photo its score comes from."),
    "convert": ("trainer.commands.convert:convert", "Convert a backbone's weights from an ONNX file."),
    "engine": ("trainer.commands.engine:engine", "Teach a detector new engines."),
    "export": ("trainer.commands.export:export", "Export a detector for programs that run no PyTorch."),
    "report": ("trainer.commands.report:report", "Write a page about a detector for policy leads."),
    "model": (
        "worker.commands.model:model",
        "Register checkpoints; run one as a shadow of the active one, compare, promote, roll back.",
    ),
    "threshold": ("db.commands.threshold:threshold_group", "The score from which a policy flags photos."),
    "policy": ("db.commands.policy:policy", "Policies: names that give photos their threshold."),
    "pause": (
        "db.commands.pause:pause_command",
        "Pause flagging (photos are still scored) or scoring (photos wait); workers follow within seconds.",
    ),
    "resume": ("db.commands.pause:resume_command", "Resume flagging or scoring."),
    "reference": (
        "worker.commands.reference:reference",
        "Build and list sets of real photos on which false positive rates are measured.",
    ),
    "rescore": (
        "worker.commands.rescore:rescore",
        "Backfill: have idle workers score old images with another version.",
    ),
    "cases": ("worker.commands.cases:cases_group", "Flagged accounts, for reviewers to decide."),
    "console": ("db.commands.console:console", "Serve the console: reviewers decide, leads manage, auditors read."),
    "serve": (
        "db.commands.serve:serve_command",
        "Serve the HTTP API: applications submit photos and read their verdicts.",
    ),
    "key": ("db.commands.key:key", "Keys of the HTTP API: who may submit photos, read verdicts and delete photos."),
    "reviewer": ("db.commands.reviewer:reviewer_group", "People who may sign in to the console, and their roles."),
    "review": (
        "worker.commands.review:review_group",
        "Decide cases, undo and appeal decisions, judge sampled photos.",
    ),
    "webhook": (
        "db.commands.webhook:webhook",
        "Webhook deliveries: what the platform was sent about its cases and images.",
    ),
    "account": ("db.commands.account:account", "Erase an account: its id, URLs and pictures, but not its scores."),
    "retention": ("db.commands.retention:retention", "Delete what is past its retention period."),
    "db": ("db.commands.database:db_group", "Create and upgrade the database's schema."),
}


class LazyGroup(click.Group):
    """A group that imports a command only when it runs."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """The commands' names, in the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Import the command, and have its values checked; None for an unknown name."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), name)
        return limited(command)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command, and check the settings that it reads, all of them before it begins."""
        name, command, rest = super().resolve_command(ctx, args)
        if name is not None and not {"-h", "--help"} & set(args) and not ctx.resilient_parsing:
            from worker.core.command_settings import check_settings_of

            check_settings_of(name)
        return name, command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """Write the list in --help without importing any command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unmask")
@click.pass_context
def root(context: click.Context) -> None:
    """Find AI-generated faces among the profile photos of a platform.

    Settings come from UNMASK_* environment variables. Exit status: 0 all well, 1 some items failed, 2 wrong use or
    configuration.
    """
    if context.invoked_subcommand != "worker":  # which names them in its log
        _warn_of_unknown_settings()


def _warn_of_unknown_settings() -> None:
    """Name variables that are no settings. Nothing is imported for it unless there are some of ours."""
    if not any(key.startswith("UNMASK_") for key in os.environ):
        return
    from worker.core.unknown_settings import describe_unknown

    for sentence in describe_unknown(os.environ):
        click.echo(f"Warning: {sentence}", err=True)


def main() -> None:
    """Run the ``unmask`` command: our own errors, and those of files, become one line on stderr and exit status 2."""
    from worker.ending import run

    sys.exit(run(root))
