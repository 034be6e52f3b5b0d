"""Links from a case to the platform's own pages, by templates in the settings."""

import re
from urllib.parse import quote

from db.console.settings import ConsoleSettings
from db.schema import Case


def case_links(settings: ConsoleSettings, case: Case) -> list[tuple[str, str]]:
    """(name, URL) of the platform's pages about a case; none for an erased account."""
    if case.account_id is None:
        return []
    values = {"account": case.account_id, "case": str(case.id), "policy": case.policy}
    given = {"Profile": settings.console_profile_url, "Ticket": settings.console_ticket_url}
    return [(name, _filled(template, values)) for name, template in given.items() if template]


def _filled(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\{(\w+)\}", lambda found: quote(values[found[1]], safe=""), template)
