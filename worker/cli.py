"""The root command. It imports nothing heavy until a command runs, so that ``unmask --help`` answers at once."""

import sys
from importlib import import_module

import click

#: word: (where its command is, its help). Torch, Celery and SQLAlchemy load only with the command that needs them.
COMMANDS = {
    "score": ("worker.commands.score:score", "Score photos here and now: 0 is real, 1 is AI-generated."),
    "enqueue": (
        "worker.commands.enqueue:enqueue",
        "Put photos in line for the workers; prints the image's id, or how many of a manifest were new.",
    ),
    "worker": (
        "worker.commands.worker:worker",
        "Run a worker: take images from the queue, score them in batches, record scores and flags.",
    ),
    "status": ("worker.commands.status:status", "What waits, what was scored, what failed, and by which model."),
    "health": (
        "worker.commands.health:health",
        "How this machine's workers are; exit status 1 unless there are some and all are well.",
    ),
    "sweep": ("worker.commands.sweep:sweep", "Send images that nobody has sent, once."),
    "failures": ("db.commands.failures:failures_group", "Images that could not be scored, each with its reason."),
    "train": ("trainer.cli:fit", "Fit a detector's head on labelled photos, by the paper's recipe."),
    "manifest": (
        "trainer.cli:manifest",
        "Make a manifest of a folder with real/... and fake/ENGINE/... in it, and check it.",
    ),
    "evaluate": (
        "trainer.cli:evaluate",
        "Judge a detector engine by engine at a false positive rate: metrics.json, and a page to read.",
    ),
    "robustness": (
        "trainer.cli:robustness",
        "What scaling, JPEG, mirroring and turning do to a detector: robustness.json (the paper's Figure 3).",
    ),
    "explain": (
        "trainer.cli:explain",
        "Show which parts of a photo its score comes from: an overlay, and numbers as JSON on stdout.",
    ),
    "report": (
        "trainer.cli:report",
        "Write one page that a policy lead can read, with its pictures and the model card.",
    ),
    "model": (
        "worker.commands.model:model",
        "Register checkpoints; try one beside the active one, compare, promote, go back.",
    ),
    "threshold": ("db.commands.threshold:threshold_group", "From which score on a policy flags an account."),
    "pause": (
        "db.commands.pause:pause",
        "Stop flagging (photos are still scored) or scoring (photos wait); workers follow within seconds.",
    ),
    "resume": ("db.commands.pause:resume", "Go on flagging or scoring."),
    "reference": (
        "worker.commands.reference:reference",
        "Sets of real photos on which false positive rates are measured.",
    ),
    "rescore": (
        "worker.commands.rescore:rescore",
        "Let a version score what others have scored, while workers have nothing else to do.",
    ),
    "cases": ("worker.commands.cases:cases", "Flagged accounts, for people to decide."),
    "console": ("db.commands.console:console", "Serve the console: reviewers decide, leads manage, auditors read."),
    "reviewer": ("db.commands.reviewer:reviewer", "People who may sign in to the console, and in which role."),
    "review": (
        "worker.commands.review:review",
        "Decide cases one after another, take decisions back, hear appeals, judge sampled photos.",
    ),
    "webhook": (
        "db.commands.webhook:webhook",
        "What the platform was told of opened and decided cases, and what it was not.",
    ),
    "account": ("db.commands.account:account", "Forget an account: its id, URLs and pictures, and not its scores."),
    "retention": ("db.commands.retention:retention", "Delete what was kept for as long as it should be."),
    "db": ("db.cli:db_group", "Create and upgrade the database's schema."),
}

#: Modules that only some installations have: the console's has none of them.
OPTIONAL = {
    *("PIL", "prometheus_client", "requests", "requests_hardened", "standardwebhooks", "structlog", "timm", "torch"),
    *("matplotlib", "scipy", "sklearn", "tqdm"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they run."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order in which people meet them."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """The real command."""
        if cmd_name not in COMMANDS:
            return None
        module, name = COMMANDS[cmd_name][0].split(":")
        command: click.Command = getattr(import_module(module), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:  # noqa: ARG002
        """The list in --help, without importing any of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, help_text) for name, (_, help_text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="unmask")
def root() -> None:
    """Find AI-generated faces among the profile photos of a platform.

    Settings come from UNMASK_* environment variables. Exit status: 0 all well, 1 some items failed, 2 wrong use or
    configuration.
    """


def main() -> None:
    """The ``unmask`` command: errors that we know are one line on stderr, and exit status 2."""
    try:
        root(prog_name="unmask")
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        click.echo(f"Error: {error.name} is not installed here: see unmask[worker] and unmask[trainer]", err=True)
        sys.exit(2)
    except Exception as error:
        if not _known(error):
            raise
        click.echo(f"Error: {error}", err=True)
        sys.exit(2)


def _known(error: Exception) -> bool:
    from db.errors import DbError
    from trainer.errors import TrainerError
    from worker.core.errors import WorkerError

    return isinstance(error, DbError | TrainerError | WorkerError)
