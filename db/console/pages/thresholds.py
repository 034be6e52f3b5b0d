"""For leads: preview the effect of a threshold, and set it."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session
from starlette.responses import Response

from db.access import audit
from db.console.web.context import PageContext
from db.console.web.forms import parse_row_number
from db.errors import DatabaseError, DatabaseUnavailableError, DbError, DeniedError, StaleError
from db.models import references, versions
from db.policy import case_changes, certificate_words, pauses, thresholds
from db.policy.attribution import ChangeAuthor
from db.policy.case_changes import Budget
from db.policy.coverage import DEFAULT, rule_for
from db.policy.forecast import forecast_flags
from db.policy.threshold_choice import ThresholdRequest, choose_threshold, rate_bound
from db.quality.certificates import certificate_states
from db.schema import ModelVersion, Threshold
from db.settings import PolicySettings
from db.stats.empirical_fpr import PREVALENCE
from db.store.session import Database

#: The preview names at most this many accounts.
SHOWN_ACCOUNTS = 20
_HISTORY = 20
_PERCENT = 100


@dataclass(frozen=True, slots=True)
class _Fields:
    """The preview form's fields as text, to fill the form again; rates are in per cent."""

    policy: str
    fpr: str
    value: str
    reference: str
    prevalence: str
    #: "certified", "certified_by_cohort" or "empirical"; a threshold by its score follows none.
    rule: str

    @classmethod
    def of(cls, page: PageContext) -> "_Fields":
        names = ("policy", "fpr", "value", "reference", "prevalence", "rule")
        asked = {name: page.param(name).strip() for name in names}
        return cls(**asked | {"policy": asked["policy"] or DEFAULT})

    def asked(self) -> ThresholdRequest:
        value = _number("score", self.value)
        return ThresholdRequest(
            _share("rate", self.fpr),
            value,
            self.reference or None,
            empirical=value is None and self.rule == "empirical",
            worst_cohort=value is None and self.rule == "certified_by_cohort",
        )

    def share(self) -> float:
        """The share of photos that are AI-generated: that of the form, else what was measured."""
        asked = _share("share", self.prevalence)
        return PREVALENCE if asked is None else asked


def show_thresholds(page: PageContext) -> Response:
    """The thresholds in force; with a rate or a score in the URL also the effect of that threshold."""
    fields = _Fields.of(page)
    with page.database.reading() as session:
        version = versions.active(session)
        history = thresholds.list_thresholds(session, version.id, None, _HISTORY)
        context: dict[str, Any] = {
            "version": version,
            "fields": fields,
            "in_force": thresholds.in_effect(session, version.id),
            "latest_id": _latest(session, version.id, 1),
            "history": history,
            "references": _references(session, version),
            "certificates": certificate_states(session),
            "promises": {row.id: certificate_words.promise(rate_bound(row), row.target_fpr) for row in history},
            "paused": pauses.current_pauses(session).get("flagging"),
            "shown": _preview(session, version, fields) if fields.fpr or fields.value else None,
        }
    return page.render("thresholds.html", accounts=SHOWN_ACCOUNTS, **context)


def submit_threshold(page: PageContext) -> Response:
    """Set a threshold in the name of the signed-in lead; this opens and withdraws cases."""
    fields = _Fields.of(page)
    by = ChangeAuthor(page.user.name, page.form.get("reason", "").strip()).explained("a threshold")
    budget = Budget.configured(parse_row_number(page.form.get("confirm", "").strip()))
    with _permitted(page.database) as session:
        version = versions.active(session)
        choice = choose_threshold(session, version, fields.asked())
        row = case_changes.set_threshold(session, version.id, fields.policy, choice, by, budget)
        _check_seen(page, session, row)
        detail = f"{row.policy}: {row.value:.4f}, {row.opened} opened, {row.withdrawn} withdrawn"
        audit.log(session, page.user.name, "threshold_set", detail=detail)
    return page.redirect("/thresholds")


def _latest(session: Session, version_id: int, place: int) -> int:
    """The id of the threshold at this place, 1 being the newest of all policies; 0 if there is none."""
    return next((row.id for row in thresholds.list_thresholds(session, version_id, None, place)[place - 1 :]), 0)


def _check_seen(page: PageContext, session: Session, row: Threshold) -> None:
    """Raises `StaleError` unless the preview was of this model and these thresholds: its effect depends on both."""
    seen = page.form_number("version"), page.form_number("latest_id")
    if seen != (row.version_id, _latest(session, row.version_id, 2)):
        raise StaleError("a threshold or the active model has changed since this preview: preview again")


def _preview(session: Session, version: ModelVersion, fields: _Fields) -> dict[str, Any]:
    choice = choose_threshold(session, version, fields.asked())
    rule = rule_for(session, version.id, fields.policy, choice.value)
    found = case_changes.preview_changes(session, [rule])
    days = forecast_flags(session, rule, choice, version.card, fields.share())
    said = certificate_words.sentences(session, version, fields.asked(), choice)
    over = found.cases > PolicySettings.load().flood_budget
    return {"choice": choice, "preview": found, "days": days, "confirm": over, "sentences": said}


@contextmanager
def _permitted(database: Database) -> Iterator[Session]:
    """A transaction that explains a missing privilege: the console's database login may be a reviewer's."""
    try:
        with database.writing() as session:
            yield session
    except DatabaseUnavailableError:
        raise
    except DatabaseError as error:
        if "permission denied" not in str(error):
            raise
        raise DeniedError(
            "this console may not set thresholds: grant its database login the role unmask_policy, or use "
            "`unmask threshold set`"
        ) from error


def _references(session: Session, version: ModelVersion) -> list[str]:
    card, built = references.card_reals(version), references.list_references(session, version.id)
    return [found.name for found in ([card] if card is not None else [])] + [row.name for row in built]


def _share(what: str, text: str) -> float | None:
    """A percentage in the form as a share from 0 to 1."""
    number = _number(what, text, _PERCENT)
    return number / _PERCENT if number is not None else None


def _number(what: str, text: str, most: float = 1) -> float | None:
    """A number in the form; None for an empty field. Raises `DbError`."""
    if not text:
        return None
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= most:
        raise DbError(f"the {what} {text[:40]!r} is not a number from 0 to {most:g}")
    return number
