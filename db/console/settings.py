"""Settings of the console: ``UNMASK_CONSOLE_*``."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, IPvAnyNetwork, PositiveFloat, PositiveInt, model_validator

from db.access.login_rate_limit import LoginRateLimit
from db.access.sign_ins import LINK_S
from db.console.link_template import check_template
from db.settings import DatabaseSettings, split_commas


class ConsoleSettings(DatabaseSettings):
    """All settings that the console reads at its start."""

    #: The URL that people open, such as https://unmask.example.com; empty: this machine only.
    console_url: str = Field(default="", pattern=r"^(https?://[^/?#@]+)?/?$")
    #: A browser is signed out after this long without a request, and after the second time in any case.
    console_idle_s: PositiveFloat = 3600.0
    console_session_s: PositiveFloat = 12 * 3600.0
    #: How long a one-time link works.
    console_link_s: PositiveFloat = LINK_S
    #: Maximum wrong passwords within the window: for a name from one address, for all names from one address, and for
    #: a name from all addresses together. The last holds only at addresses where that person has not signed in for 30
    #: days, so that a stranger locks nobody out at home.
    console_tries_per_name: PositiveInt = 5
    console_tries_per_address: PositiveInt = 20
    console_tries_per_name_in_all: PositiveInt = 100
    console_tries_window_s: PositiveFloat = 900.0
    #: The header in which a proxy names the person who signed in there ("X-Forwarded-User"). With a header set there is
    #: no other way to sign in.
    console_trusted_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    #: The networks of the proxies in front. Only from there does the header above count, and X-Forwarded-For, which
    #: says whose wrong passwords are counted: without it, all people behind a proxy share one limit.
    console_trusted_proxy: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(split_commas)] = ()
    #: How long a client may take to send a request's headers, and its form; and how many connections may be open: past
    #: that, the one that has waited longest for its headers is closed.
    console_header_timeout_s: PositiveFloat = 10.0
    console_form_timeout_s: PositiveFloat = 20.0
    console_max_connections: PositiveInt = 512
    #: Rows on each page of a list.
    console_rows: PositiveInt = 50
    #: The platform's own pages about an account and about a case, to which a case's page links, with {account}, {case}
    #: and {policy} where they belong: https://example.com/users/{account}
    console_profile_url: Annotated[str, AfterValidator(check_template)] = ""
    console_ticket_url: Annotated[str, AfterValidator(check_template)] = ""

    @model_validator(mode="after")
    def _check_proxy(self) -> Self:
        if self.console_trusted_header and not self.console_trusted_proxy:
            raise ValueError("UNMASK_CONSOLE_TRUSTED_HEADER needs UNMASK_CONSOLE_TRUSTED_PROXY, the proxy's address")
        return self

    @property
    def secure(self) -> bool:
        """Whether people use https; cookies are then sent by https only."""
        return self.console_url.startswith("https:")

    @property
    def hostname(self) -> str | None:
        """The host name in `console_url`."""
        return urlsplit(self.console_url).hostname

    @property
    def login_rate_limit(self) -> LoginRateLimit:
        """The limit of wrong passwords."""
        return LoginRateLimit(
            self.console_tries_per_name,
            self.console_tries_per_address,
            self.console_tries_per_name_in_all,
            self.console_tries_window_s,
        )
