"""Finds ``UNMASK_*`` variables that are not settings: a misspelt name must not be ignored silently."""

import difflib
import re
from collections.abc import Iterator, Mapping
from importlib import import_module

from db.settings import PREFIX, Environment

#: Settings of other commands. Imported only for a name that is not among the worker's own: `unmask health` stays quick.
OTHER_MODULES = (
    "db.api.settings",
    "db.compliance.statements",
    "db.console.oidc.settings",
    "db.console.settings",
    "db.review.settings",
    "db.privacy.pseudonyms",
    "db.privacy.retention",
)
#: Variables without a settings class: the actor's name, and those that `deploy/compose.yaml` reads.
_PLAIN = frozenset({"ACTOR", "MEDIA", "TAG"})
#: Variables that Kubernetes sets for a service whose name begins with "unmask".
_SERVICE = re.compile(r"(.+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)")
_SERVICE_URL = re.compile(r"(tcp|udp|sctp)://")


def describe_unknown(environ: Mapping[str, str]) -> list[str]:
    """One sentence for each variable that no settings class knows, with the name that was probably meant."""
    import_module("worker.core.settings")
    names = [key.removeprefix(PREFIX) for key, value in sorted(environ.items()) if _is_ours(key, value)]
    unknown = [name for name in names if _plain(name) not in _known()]
    if unknown:
        for module in OTHER_MODULES:
            import_module(module)
    known = _known()
    return [_sentence(name, known) for name in unknown if _plain(name) not in known]


def _is_ours(key: str, value: str) -> bool:
    name = key.removeprefix(PREFIX)
    service = _SERVICE.fullmatch(name) or (name.endswith("PORT") and _SERVICE_URL.match(value))
    return key.startswith(PREFIX) and not service


def _plain(name: str) -> str:
    return name.removesuffix("_FILE")


def _known() -> set[str]:
    return {field.upper() for kind in _classes(Environment) for field in kind.model_fields} | _PLAIN


def _classes(kind: type[Environment]) -> Iterator[type[Environment]]:
    for below in kind.__subclasses__():
        yield below
        yield from _classes(below)


def _sentence(name: str, known: set[str]) -> str:
    meant = difflib.get_close_matches(_plain(name), sorted(known), n=1)
    hint = f": did you mean {PREFIX}{meant[0]}{name[len(_plain(name)) :]}?" if meant else ""
    return f"{PREFIX}{name} is not a setting and is ignored{hint}"
