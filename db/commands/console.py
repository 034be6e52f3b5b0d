"""``unmask console``: serve the web console, on this machine or behind an https proxy."""

import ipaddress
from typing import TYPE_CHECKING

import click

from db.access import audit, people, sign_ins
from db.commands.database import open_database
from db.console.oidc.settings import OidcSettings
from db.console.settings import ConsoleSettings
from db.errors import SettingsError
from db.review.settings import ReviewSettings
from db.settings import actor
from db.store.session import Database

if TYPE_CHECKING:
    from db.console.oidc.provider import Provider


@click.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8000, show_default=True)
@click.option("--sign-in-link", metavar="NAME", help="First print a link that signs this person in once.")
def console(*, host: str, port: int, sign_in_link: str | None) -> None:
    """Serve the console: reviewers decide, leads manage, auditors read.

    On this machine the console uses http. To be reached from elsewhere it needs an https proxy in front, and
    UNMASK_CONSOLE_URL, the URL that people open.
    """
    import uvicorn

    from db.console.app import build_app
    from db.serving.bounded_protocol import bounded_config, bounded_protocol

    settings, review, oidc = ConsoleSettings.load(), ReviewSettings.load(), OidcSettings.load()
    check_reach(host, settings)
    check_ways_in(settings, oidc)
    database = open_database()
    with database.reading() as session:
        if not people.list_people(session):
            click.echo("Nobody can sign in yet: add a person with unmask reviewer add NAME --role lead", err=True)
    address = settings.console_url.rstrip("/") or f"http://{_bracketed(host)}:{port}"
    if sign_in_link is not None:
        click.echo(create_sign_in_url(database, sign_in_link, address, settings.console_link_s))
    click.echo(f"The console is at {address}; press Ctrl-C to stop it.", err=True)
    provider = open_provider(oidc, address)
    app = build_app(database, settings, review, host_names(host, settings), provider)
    protocol = bounded_protocol(settings.console_header_timeout_s, settings.console_max_connections)
    uvicorn.Server(bounded_config(app, protocol, host=host, port=port)).run()


def check_reach(host: str, settings: ConsoleSettings) -> None:
    """Raises `SettingsError` for a console that is reachable from other machines without https."""
    if not is_loopback(host) and not settings.secure:
        raise SettingsError(f"--host {host} is reachable from other machines: it needs UNMASK_CONSOLE_URL=https://...")


def check_ways_in(settings: ConsoleSettings, oidc: OidcSettings) -> None:
    """Raises `SettingsError` for a trusted header and an OpenID provider: the header allows no other way to sign in."""
    if settings.console_trusted_header and oidc.oidc_issuer:
        raise SettingsError("UNMASK_CONSOLE_TRUSTED_HEADER and UNMASK_OIDC_ISSUER exclude each other: set one of them")


def open_provider(oidc: OidcSettings, address: str) -> "Provider | None":
    """The configured OpenID provider; None without one. Raises `SettingsError` when the extra is not installed."""
    if not oidc.oidc_issuer:
        return None
    try:
        from db.console.oidc.provider import Provider
    except ImportError as error:
        raise SettingsError("UNMASK_OIDC_ISSUER needs the extra: pip install 'unmask[oidc]'") from error
    return Provider(oidc, address)


def host_names(host: str, settings: ConsoleSettings) -> list[str]:
    """The host names that the console answers to; it refuses others, which prevents DNS rebinding."""
    own = (host, settings.hostname, "localhost", "127.0.0.1")
    return sorted({_bracketed(name) for name in own if name})  # a browser writes IPv6 addresses in brackets


def create_sign_in_url(database: Database, name: str, address: str, link_s: float) -> str:
    """The URL of a new one-time link, which the audit log notes.

    Raises `NotFoundError`, or `DeniedError` for a disabled person.
    """
    with database.writing() as session:
        token = sign_ins.make_link(session, people.get_by_name(session, name), link_s)
        audit.log(session, actor(), "link_made", detail=name)
    return f"{address}/link/{token}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
