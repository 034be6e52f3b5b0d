"""What the console may be told through ``UNMASK_CONSOLE_*`` variables."""

from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, IPvAnyNetwork, PositiveFloat, PositiveInt, model_validator

from db.settings import DatabaseSettings
from db.access.sign_ins import LINK_S
from db.access.throttle import Patience


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


class ConsoleSettings(DatabaseSettings):
    """Everything that the console reads at its start."""

    #: What people type to get here, such as https://unmask.example.com, where that is not this machine itself.
    console_url: str = Field(default="", pattern=r"^(https?://[^/?#]+)?/?$")
    #: A browser is signed out when it was not heard of for so long, and after the longer time anyway.
    console_idle_s: PositiveFloat = 3600.0
    console_session_s: PositiveFloat = 12 * 3600.0
    #: How long a one-time link may be used.
    console_link_s: PositiveFloat = LINK_S
    #: How many wrong passwords a name, and an address, may have within the window.
    console_tries_per_name: PositiveInt = 5
    console_tries_per_address: PositiveInt = 20
    console_tries_window_s: PositiveFloat = 900.0
    #: A header in which a proxy names who signed in there ("X-Forwarded-User"), and the networks the proxy may be in:
    #: from anywhere else the header says nothing. Then there is no other way to sign in.
    console_trusted_header: str = Field(default="", pattern=r"^[A-Za-z0-9-]*$")
    console_trusted_proxy: Annotated[tuple[IPvAnyNetwork, ...], BeforeValidator(_split)] = ()
    #: Rows on a page of a list.
    console_rows: PositiveInt = 50

    @model_validator(mode="after")
    def _check_proxy(self) -> Self:
        if self.console_trusted_header and not self.console_trusted_proxy:
            raise ValueError("UNMASK_CONSOLE_TRUSTED_HEADER needs UNMASK_CONSOLE_TRUSTED_PROXY, the proxy's address")
        return self

    @property
    def secure(self) -> bool:
        """Whether people come by https; their cookies then go no other way."""
        return self.console_url.startswith("https:")

    @property
    def hostname(self) -> str | None:
        """The name that browsers ask for."""
        return urlsplit(self.console_url).hostname

    @property
    def patience(self) -> Patience:
        """With wrong passwords."""
        return Patience(self.console_tries_per_name, self.console_tries_per_address, self.console_tries_window_s)
