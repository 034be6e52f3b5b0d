"""Runs the HTTP API in uvicorn, with bounded connections."""

import contextlib
import logging
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

from db.api.settings import ApiSettings
from db.serving.bounded_protocol import bounded_config, bounded_protocol

#: Seconds that current requests have to end after a signal.
_GRACE_S = 35
#: Open files besides connections.
_OTHER_FILES = 128


@dataclass(frozen=True, slots=True)
class Address:
    """The address to listen on, and the files of a certificate and its key, if any."""

    host: str
    port: int
    certfile: Path | None = None
    keyfile: Path | None = None


def run_server(app: ASGIApp, settings: ApiSettings, address: Address) -> None:
    """Serve until a signal arrives; current requests have ``_GRACE_S`` seconds to end."""
    _raise_file_limit(settings.api_max_connections + _OTHER_FILES)
    _log_to_stderr()
    uvicorn.Server(config_of(app, settings, address)).run()


def config_of(app: ASGIApp, settings: ApiSettings, address: Address) -> uvicorn.Config:
    """The configuration of uvicorn for these settings."""
    return bounded_config(
        app,
        bounded_protocol(settings.api_header_timeout_s, settings.api_max_connections),
        host=address.host,
        port=address.port,
        ssl_certfile=address.certfile,
        ssl_keyfile=address.keyfile,
        timeout_graceful_shutdown=_GRACE_S,
    )


def _raise_file_limit(needed: int) -> None:
    """Raise the soft limit on open files: each connection needs one, and the default is often 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _log_to_stderr() -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(message)s"))
    log = logging.getLogger("unmask.api")
    log.setLevel(logging.INFO)
    log.addHandler(handler)
    log.propagate = False
