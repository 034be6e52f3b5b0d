"""``unmask console``: the web console, on this machine or behind a proxy that speaks https."""

import ipaddress

import click

from db.access import people, sign_ins
from db.cli import open_database
from db.console.settings import ConsoleSettings
from db.errors import SettingsError
from db.review.review_settings import ReviewSettings
from db.store.session import Database


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Where to listen.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--sign-in-link", metavar="NAME", help="First print a link that signs this person in, once.")
def console(*, host: str, port: int, sign_in_link: str | None) -> None:
    """Serve the console: reviewers decide, leads manage, auditors read.

    By http on this machine only; anywhere else it stands behind a proxy that speaks https, and UNMASK_CONSOLE_URL says
    what people type.
    """
    import uvicorn

    from db.console.app import build

    settings, review = ConsoleSettings.load(), ReviewSettings.load()
    check_reach(host, settings)
    database = open_database()
    with database.reading() as session:
        if not people.listed(session):
            click.echo("Nobody can sign in yet: unmask reviewer add NAME --role lead", err=True)
    address = settings.console_url.rstrip("/") or f"http://{_bracketed(host)}:{port}"
    if sign_in_link is not None:
        click.echo(new_link(database, sign_in_link, address, settings.console_link_s))
    click.echo(f"The console is at {address}; Ctrl-C ends it.", err=True)
    app = build(database, settings, review, names(host, settings))
    uvicorn.run(
        app, host=host, port=port, proxy_headers=False, server_header=False, access_log=False, log_level="warning"
    )


def check_reach(host: str, settings: ConsoleSettings) -> None:
    """Raises `SettingsError` where passwords would travel in the open, or the console does not know its own name."""
    if not _is_here(host) and not settings.secure:
        raise SettingsError(f"--host {host} can be reached from elsewhere: it needs UNMASK_CONSOLE_URL=https://...")


def names(host: str, settings: ConsoleSettings) -> list[str]:
    """The names by which browsers may ask: another one that leads here is somebody's trick."""
    own = (host, settings.hostname, "localhost", "127.0.0.1")
    return sorted({_bracketed(name) for name in own if name})  # a browser writes IPv6 addresses in brackets


def new_link(database: Database, name: str, address: str, link_s: float) -> str:
    """A one-time link for somebody."""
    with database.writing() as session:
        return f"{address}/link/{sign_ins.make_link(session, people.named(session, name), link_s)}"


def _is_here(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
