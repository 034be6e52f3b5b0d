"""Options that several commands share, and what becomes of them."""

import click

from db.policy.changes import Budget
from db.settings import PolicySettings, actor
from db.policy.signature import Signature

policy_option = click.option("--policy", default="default", show_default=True, help="Whose threshold it is.")
reason_option = click.option("--reason", default="", help="Why, for those who read the history.")
confirm_option = click.option(
    "--confirm", type=click.IntRange(0), metavar="N", help="Yes, N cases: needed over UNMASK_FLOOD_BUDGET."
)
prevalence_option = click.option(
    "--prevalence",
    type=click.FloatRange(0, 1),
    help="Which share of the photos you take to be AI-generated: what precision depends on.",
)


def signed(reason: str) -> Signature:
    """Who does this, and why."""
    return Signature(actor(), reason)


def budget(confirmed: int | None) -> Budget:
    """How many cases this may open and withdraw."""
    return Budget(PolicySettings.load().flood_budget, confirmed)
