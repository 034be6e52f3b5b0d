"""For leads: what a threshold would do, and setting it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.models import references, versions
from db.policy import changes, pauses, policies, thresholds
from db.policy.changes import Budget
from db.policy.choices import Asked, choose
from db.console.visit import Visit, digits
from db.errors import DatabaseAwayError, DatabaseError, DbError, DeniedError, StaleError
from db.policy.forecast import forecast
from db.policy.rules import DEFAULT, rule_for
from db.schema import ModelVersion, Threshold
from db.store.session import Database
from db.settings import PolicySettings
from db.policy.signature import Signature

#: Accounts that a page names.
SHOWN_ACCOUNTS = 20
_HISTORY = 20
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class _Wish:
    """What the form says, to be shown again in it; rates are in per cent."""

    policy: str
    fpr: str
    value: str
    reference: str
    prevalence: str

    @classmethod
    def of(cls, visit: Visit) -> "_Wish":
        asked = {name: visit.asked(name).strip() for name in ("policy", "fpr", "value", "reference", "prevalence")}
        return cls(**asked | {"policy": asked["policy"] or DEFAULT})

    def asked(self) -> Asked:
        return Asked(_share("rate", self.fpr), _number("score", self.value), self.reference or None)


def show(visit: Visit) -> Response:
    """The thresholds that stand; with a rate or a score in the address also what that would do."""
    wish = _Wish.of(visit)
    with visit.database.reading() as session:
        version = versions.active(session)
        context: dict[str, Any] = {
            "version": version,
            "wish": wish,
            "standing": thresholds.latest(session, version.id),
            "stands": _latest(session, version.id, 1),
            "history": thresholds.history(session, version.id, None, _HISTORY),
            "references": _references(session, version),
            "paused": pauses.standing(session).get("flagging"),
            "shown": _preview(session, version, wish) if wish.fpr or wish.value else None,
        }
    return visit.page("thresholds.html", accounts=SHOWN_ACCOUNTS, **context)


def apply(visit: Visit) -> Response:
    """Set it, and open and withdraw cases, in the name of whoever asks."""
    wish = _Wish.of(visit)
    by = Signature(visit.who.name, visit.form.get("reason", "").strip()).explained("a threshold")
    budget = Budget(PolicySettings.load().flood_budget, digits(visit.form.get("confirm", "").strip()))
    with _permitted(visit.database) as session:
        version = versions.active(session)
        choice = choose(session, version, wish.asked())
        row = policies.set_threshold(session, version.id, wish.policy, choice, by, budget)
        _check_seen(visit, session, row)
        detail = f"{row.policy}: {row.value:.4f}, {row.opened} opened, {row.withdrawn} withdrawn"
        audit.note(session, visit.who.name, "threshold_set", detail=detail)
    return visit.go("/thresholds")


def _latest(session: Session, version_id: int, place: int) -> int:
    """The number of the last threshold of all policies, or of the one before it; 0 for none."""
    return next((row.id for row in thresholds.history(session, version_id, None, place)[place - 1 :]), 0)


def _check_seen(visit: Visit, session: Session, row: Threshold) -> None:
    """Whether the preview was of this version and these thresholds: what one covers depends on the others."""
    seen = visit.number_of("version"), visit.number_of("stands")
    if seen != (row.version_id, _latest(session, row.version_id, 2)):
        raise StaleError("a threshold, or the model, was changed since this preview: look again")


def _preview(session: Session, version: ModelVersion, wish: _Wish) -> dict[str, Any]:
    choice = choose(session, version, wish.asked())
    rule = rule_for(session, version.id, wish.policy, choice.value)
    found = changes.preview(session, [rule])
    days = forecast(session, rule, choice.measured, _share("share", wish.prevalence), version.card)
    over = found.cases > PolicySettings.load().flood_budget
    return {"choice": choice, "preview": found, "days": days, "confirm": over}


@contextmanager
def _permitted(database: Database) -> Iterator[Session]:
    """A transaction of a console whose own login may be a reviewer's, who sets no threshold."""
    try:
        with database.writing() as session:
            yield session
    except DatabaseAwayError:
        raise
    except DatabaseError as error:
        if "permission denied" not in str(error):
            raise
        raise DeniedError(
            "this console may not set thresholds: give its database login the role unmask_policy, or use "
            "`unmask threshold set`"
        ) from error


def _references(session: Session, version: ModelVersion) -> list[str]:
    card, built = references.card_reals(version), references.list_sets(session, version.id)
    return [found.name for found in ([card] if card is not None else [])] + [row.name for row in built]


def _share(what: str, text: str) -> float | None:
    """A percentage as a share."""
    number = _number(what, text, _PERCENT)
    return number / _PERCENT if number is not None else None


def _number(what: str, text: str, most: float = 1) -> float | None:
    """A number of the form; None where nothing was written."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise DbError(f"the {what} {text[:40]!r} is no number from 0 to {most:g}")
    return number
