"""Whether a new version finds anything worse than the one before, by what their cards say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from db.errors import ConflictError

#: An engine's, a size's or a JPEG quality's true positive rate may fall by so much.
MAX_DROP = 0.02
_ENGINES = "engines"
_CONDITIONS = "sizes and JPEG qualities"

Card = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Compared:
    """The share that each version finds of one engine, or under one degradation ("jpeg 60")."""

    what: str
    before: float
    after: float

    @property
    def drop(self) -> float:
        """How much less is found."""
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class Gate:
    """What two cards say of each other; ``unknown``: what they leave open, in words."""

    compared: list[Compared]
    unknown: list[str]

    def check(self, max_drop: float) -> None:
        """Raises `ConflictError` naming everything that falls by more."""
        worse = [found for found in self.compared if found.drop > max_drop + 1e-9]
        if worse:
            said = ", ".join(f"{found.what} {found.before:.1%} to {found.after:.1%}" for found in worse)
            raise ConflictError(f"it finds less than --max-drop {max_drop:g} allows: {said}")


def gate(before: Card, after: Card) -> Gate:
    """Compare what two cards measured at the same target FPR, each on its own held-out photos."""
    engines = _compare(_ENGINES, _engines(before), _engines(after))
    conditions = _compare(_CONDITIONS, _sweep(before), _sweep(after))
    return Gate(engines.compared + conditions.compared, engines.unknown + conditions.unknown)


@dataclass(frozen=True, slots=True)
class _Rates:
    """True positive rates at one FPR."""

    target_fpr: float
    rates: Mapping[str, float]


def _engines(card: Card) -> _Rates | None:
    quality = card.get("quality")
    if not quality:
        return None
    return _Rates(quality["target_fpr"], {name: row["tpr"] for name, row in quality["engines"].items()})


def _sweep(card: Card) -> _Rates | None:
    sweep = (card.get("findings") or {}).get("robustness")
    if not sweep:
        return None
    rows = [row for row in sweep["rows"] if row["kind"] in ("resize", "jpeg")]
    return _Rates(sweep["target_fpr"], {f"{row['kind']} {row['level']}": row["tpr"] for row in rows})


def _compare(what: str, before: _Rates | None, after: _Rates | None) -> Gate:
    if before is None or after is None:
        return Gate([], [f"{what}: a card says nothing of them"])
    if before.target_fpr != after.target_fpr:
        return Gate([], [f"{what}: measured at FPRs of {before.target_fpr:g} and {after.target_fpr:g}"])
    both = [name for name in before.rates if name in after.rates]
    unknown = [f"{name}: not measured for the new version" for name in before.rates if name not in after.rates]
    return Gate([Compared(name, before.rates[name], after.rates[name]) for name in both], unknown)
