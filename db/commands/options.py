"""Options that several commands share, and the values that they become."""

import click
from sqlalchemy.orm import Session

from db.access import actors
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.settings import actor
from db.stats.empirical_fpr import PREVALENCE

policy_option = click.option("--policy", default="default", show_default=True, help="The policy whose threshold it is.")
reason_option = click.option("--reason", default="", help="Why, for the history.")
confirm_option = click.option(
    "--confirm", type=click.IntRange(0), metavar="N", help="Accept at most N cases, beyond UNMASK_FLOOD_BUDGET."
)
max_fpr_option = click.option(
    "--max-fpr",
    type=click.FloatRange(0, 1, min_open=True),
    metavar="F",
    help="Accept this measured FPR once, in place of UNMASK_MAX_FPR; needs --reason.",
)
prevalence_option = click.option(
    "--prevalence",
    type=click.FloatRange(0, 1),
    default=PREVALENCE,
    show_default=True,
    help="The share of photos that you expect to be AI-generated; by default as measured (arXiv 2404.14244).",
)


def author(reason: str) -> ChangeAuthor:
    """Whoever runs the command, with the reason they give; raises `IdError` for a name that is no id."""
    return ChangeAuthor(actor(), reason)


def as_lead(session: Session) -> str:
    """Whoever runs the command, who must be a lead where people are registered; writes it into the audit log."""
    name = actors.require_actor(session, actor(), actors.LEADS)
    actors.log_command(session, name, click.get_current_context().command_path)
    return name


def as_decider(session: Session) -> str:
    """Whoever runs the command, who must decide cases where people are registered."""
    return actors.require_actor(session, actor(), actors.DECIDERS)


def budget(confirmed: int | None) -> Budget:
    """How many cases a change may open and withdraw; raises `SettingsError` for a bad setting."""
    return Budget.configured(confirmed)


def budget_with_rate(confirmed: int | None, max_fpr: float | None, by: ChangeAuthor) -> Budget:
    """The same, and the highest rate that is accepted this once; raises `DbError` when its reason is missing."""
    if max_fpr is not None:
        by.explained("--max-fpr")
    return Budget.configured(confirmed, max_fpr)
