"""``unmask account``: erase one account from the record."""

from dataclasses import asdict

import click

from db.commands.database import open_database
from db.commands.group import WholeHelpGroup
from db.commands.options import as_lead
from db.commands.output import emit, json_option
from db.privacy import erasure
from db.privacy.pseudonyms import Pseudonyms, PseudonymSettings


@click.group(cls=WholeHelpGroup)
def account() -> None:
    """Erase an account: its id, URLs and pictures, but not its scores."""


@account.command("forget")
@click.argument("account_id")
@click.option("--dry-run", is_flag=True, help="Only count what would be erased.")
@json_option
def account_forget(*, account_id: str, dry_run: bool, as_json: bool) -> None:
    """Erase an account's id, URLs and pictures; scores stay, anonymous.

    Images that wait are given up, and open cases are withdrawn. After an interruption, run the same command again.
    """
    database = open_database()
    if dry_run:
        with database.reading() as session:
            found = erasure.preview_erasure(session, account_id)
    else:
        with database.writing() as session:
            as_lead(session)
        found = erasure.erase_account(database, account_id)
    name = Pseudonyms(PseudonymSettings.load()).of(account_id)  # some log keeps what is printed
    emit([{"account": name} | asdict(found) | {"dry_run": dry_run}], as_json=as_json, empty="")
