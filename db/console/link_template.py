"""The form of a link to the platform: a fixed host, and names to fill in after it."""

import re

_NAMES = ("account", "case", "policy")
#: A link leads to one host: the names may stand in its path, query or fragment only.
_TEMPLATE = re.compile(r"https?://[^/?#{}\s]+([/?#]([^{}\s]|\{(account|case|policy)\})*)?")


def check_template(text: str) -> str:
    """A URL with ``{account}``, ``{case}`` or ``{policy}`` after its host; raises `ValueError` for another text."""
    if text and _TEMPLATE.fullmatch(text) is None:
        names = ", ".join(f"{{{name}}}" for name in _NAMES)
        raise ValueError(f"{text!r} is no link: write https://HOST/PATH, with {names} only after the host")
    return text
