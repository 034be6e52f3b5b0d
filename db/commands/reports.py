"""``unmask review decisions|statements|transparency``: what was decided, for other programs and for the law."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import TextIO

import click
from sqlalchemy.orm import Session

from db.access import actors, audit
from db.commands.database import open_database
from db.commands.output import emit, json_option
from db.commands.show import estimate_document, estimate_words
from db.compliance import decisions, statements, transparency
from db.compliance.period import Period
from db.compliance.statements import DsaSettings
from db.errors import DbError
from db.settings import actor

#: Roles that may read all decisions.
_READERS = ("lead", "auditor")
since_option = click.option("--since", required=True, metavar="DAY", help="The first day, such as 2026-01-01 (UTC).")
until_option = click.option("--until", required=True, metavar="DAY", help="The last day.")
out_option = click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="The file; else stdout.")

#: A hundred statements take less.
_LONGEST_LINE = 10_000_000


@click.command("decisions")
@since_option
@until_option
@click.option("--policy", help="Only decisions about cases of this policy.")
@click.option("--format", "form", type=click.Choice(decisions.FORMATS), default="csv", show_default=True)
@out_option
def review_decisions(*, since: str, until: str, policy: str | None, form: str, out: Path | None) -> None:
    """Write every decision of a period: CSV, JSON Lines or Parquet. Parquet needs --out and the extra "parquet"."""
    period = Period.parse(since, until)
    if form == "parquet" and out is None:
        raise click.UsageError("--format parquet needs --out FILE")
    database = open_database()
    with database.writing() as session:
        _as_reader(session, f"decisions {period}")
    with database.reading() as session:
        rows = decisions.read_decisions(session, period, policy)
        if form == "parquet":
            count = decisions.write_parquet(rows, str(out))
        else:
            with _opened(out) as file:
                count = decisions.WRITERS[form](rows, file)
    click.echo(f"{count} decisions", err=True)


@click.command("statements")
@click.option("--since", metavar="DAY", help="The first day, such as 2026-01-01 (UTC).")
@click.option("--until", metavar="DAY", help="The last day.")
@click.option("--check", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Check this file instead.")
@out_option
def review_statements(*, since: str | None, until: str | None, check: Path | None, out: Path | None) -> None:
    """Write DSA statements of reasons of confirmed cases, or check a file of them. Nothing is sent.

    Each line is the body of one request to the EU's transparency database, with at most 100 statements. Every statement
    is checked against the rules of the database before it is written. UNMASK_DSA_GROUND and UNMASK_DSA_EXPLANATION say
    what your terms are.
    """
    if check is not None:
        _check_file(check)
        return
    if since is None or until is None:
        raise click.UsageError("give --since and --until, or --check FILE")
    period, settings = Period.parse(since, until), DsaSettings.load()
    database = open_database()
    with database.writing() as session:
        _as_reader(session, f"statements {period}")
    with database.reading() as session:
        found = list(statements.read_statements(session, period, settings))
    with _opened(out) as file:
        file.writelines(f"{line}\n" for line in statements.requests(found))
    click.echo(f"{len(found)} statements", err=True)


@click.command("transparency")
@since_option
@until_option
@json_option
def review_transparency(*, since: str, until: str, as_json: bool) -> None:
    """Count a period for a transparency report: automated flags, decisions, appeals, and how long they took."""
    period = Period.parse(since, until)
    with open_database().reading() as session:
        found = transparency.count_period(session, period)
    share = found.confirmed_share
    words = estimate_document(share) if as_json else estimate_words(share, ".1%")
    row = asdict(found) | {"period": str(period), "confirmed_share": words}
    emit([row], as_json=as_json, empty="")


def _as_reader(session: Session, what: str) -> None:
    name = actors.require_actor(session, actor(), _READERS)
    audit.log(session, name, "exported", detail=what)


def _check_file(path: Path) -> None:
    with path.open(encoding="utf-8") as file:
        found = list(statements.check_lines(_bounded_lines(file)))
    for line in found:
        click.echo(line)
    click.echo(f"{len(found)} problems", err=True)
    if found:
        raise click.exceptions.Exit(1)


def _bounded_lines(file: TextIO) -> Iterator[str]:
    """Its lines; raises `DbError` for one that is too long, such as all of /dev/zero."""
    for number in count(1):
        try:
            line = file.readline(_LONGEST_LINE + 1)
        except UnicodeDecodeError as error:
            raise DbError(f"{file.name} is not UTF-8 text: {error.reason} at byte {error.start}") from error
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            raise DbError(f"{file.name}: line {number} has more than {_LONGEST_LINE:,} characters")
        yield line


@contextmanager
def _opened(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with out.open("w", encoding="utf-8", newline="") as file:
        yield file
