"""``unmask account``: what the record knows of one account, and how it is made to forget."""

from dataclasses import asdict

import click

from db.privacy import accounts
from db.cli import open_database
from db.output import emit, json_option
from db.privacy.pseudonyms import Pseudonyms, PseudonymSettings


@click.group()
def account() -> None:
    """Forget an account: its id, URLs and pictures, and not its scores."""


@account.command()
@click.argument("account_id")
@click.option("--dry-run", is_flag=True, help="Only say what there is.")
@json_option
def forget(*, account_id: str, dry_run: bool, as_json: bool) -> None:
    """Erase an account's id, its images' URLs and all pictures; scores stay, and belong to nobody.

    Images that wait are given up, open cases withdrawn. Interrupted, the same command goes on.
    """
    database = open_database()
    if dry_run:
        with database.reading() as session:
            found = accounts.known(session, account_id)
    else:
        found = accounts.forget(database, account_id)
    name = Pseudonyms(PseudonymSettings.load()).of(account_id)  # what is printed is kept, in some log
    emit([{"account": name} | asdict(found) | {"dry_run": dry_run}], as_json=as_json, empty="")
