"""``unmask serve``: the HTTP API, on this machine or behind a proxy with https."""

from pathlib import Path

import click

from db.access import api_keys
from db.api.settings import ApiSettings
from db.commands.console import is_loopback
from db.commands.database import open_database

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, help="The address to listen on.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True)
@click.option("--certfile", type=_FILE, help="A certificate: the API then uses https.")
@click.option("--keyfile", type=_FILE, help="The certificate's private key.")
def serve_command(*, host: str, port: int, certfile: Path | None, keyfile: Path | None) -> None:
    """Serve the HTTP API: applications submit photos and read their verdicts.

    Each request carries a key: for other machines the API needs a certificate, or a proxy with https.
    """
    from db.api.app import build_api
    from db.api.http import server

    if (certfile is None) != (keyfile is None):
        raise click.UsageError("--certfile and --keyfile need each other: give both or none")
    settings = ApiSettings.load()
    database = open_database()
    with database.reading() as session:
        if not api_keys.list_keys(session):
            click.echo("The HTTP API has no keys: add one with `unmask key add NAME --scope submit,read`.", err=True)
    if certfile is None and not is_loopback(host):
        click.echo("Without --certfile keys are sent unencrypted: give one, or use a proxy with https.", err=True)
    scheme = "https" if certfile else "http"
    click.echo(f"HTTP API: {scheme}://{host}:{port} (documentation: /docs). Press Ctrl-C to stop.", err=True)
    server.run_server(build_api(database, settings), settings, server.Address(host, port, certfile, keyfile))
