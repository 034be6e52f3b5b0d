"""Settings of signing in at an OpenID provider: ``UNMASK_OIDC_*``."""

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Self
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, PositiveFloat, model_validator

from db.schema import ROLES
from db.settings import Environment, split_commas


class OidcSettings(Environment):
    """How people sign in to the console at their company's OpenID provider, beside links and passwords."""

    #: The provider's issuer, such as https://id.example.com/realms/staff; empty: nobody signs in by OpenID.
    oidc_issuer: str = ""
    #: The client that is registered there, with the redirect URI UNMASK_CONSOLE_URL/oidc/callback and the back-channel
    #: logout URI UNMASK_CONSOLE_URL/oidc/back-channel-logout. Without a secret it is a public client.
    oidc_client_id: str = ""
    oidc_client_secret: str = Field(default="", repr=False)
    #: Which group of the provider has which role ("unmask-leads=lead,moderators=reviewer,legal=auditor"): of several
    #: groups, the first in this list counts. People in none of them have no access.
    oidc_roles: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = ()
    #: The claim that holds the groups, the one that holds the name, and the scopes that are asked for.
    oidc_groups_claim: str = "groups"
    oidc_name_claim: str = "preferred_username"
    oidc_scopes: str = "openid profile email"
    #: Other hosts of the provider ("oauth2.googleapis.com"): the console sends requests to these and the issuer only.
    oidc_hosts: Annotated[tuple[str, ...], BeforeValidator(split_commas)] = ()
    #: How long each request to the provider may take, and the CA file of a provider with a certificate of one's own.
    oidc_timeout_s: PositiveFloat = 5.0
    oidc_ca_file: Path | None = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.oidc_issuer:
            return self
        if not _is_safe(self.oidc_issuer):
            raise ValueError(f"UNMASK_OIDC_ISSUER {self.oidc_issuer!r} needs https, except on this machine")
        if not self.oidc_client_id or not self.oidc_roles:
            raise ValueError("UNMASK_OIDC_ISSUER needs UNMASK_OIDC_CLIENT_ID and UNMASK_OIDC_ROLES")
        for pair in self.oidc_roles:
            group, _, role = pair.rpartition("=")
            if not group or role not in ROLES:
                raise ValueError(f"UNMASK_OIDC_ROLES has {pair!r}, which is not GROUP={'|'.join(ROLES)}")
        return self

    def role_of(self, groups: object) -> str | None:
        """The role of somebody in these groups, a list or one name; None without access."""
        given = {groups} if isinstance(groups, str) else set(groups) if isinstance(groups, list) else set()
        pairs = (pair.rpartition("=") for pair in self.oidc_roles)
        return next((role for group, _, role in pairs if group in given), None)

    @property
    def hosts(self) -> frozenset[str]:
        """The hosts, with ports, to which the console sends requests."""
        return frozenset({urlsplit(self.oidc_issuer).netloc, *self.oidc_hosts})


def _is_safe(url: str) -> bool:
    """Whether a URL is encrypted, or stays on this machine."""
    parts = urlsplit(url)
    if parts.scheme == "https" and parts.hostname:
        return not parts.query and not parts.fragment
    return parts.scheme == "http" and _is_local(parts.hostname or "")


def _is_local(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False
