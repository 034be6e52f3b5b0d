"""Whether a new version is worse than the one before: by rates measured here on reference sets, and by their cards."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from db.errors import ConflictError
from db.stats.intervals import Estimate

#: By how much the true positive rate of an engine, a size or a JPEG quality may fall.
MAX_DROP = 0.02
_ENGINES = "engines"
_CONDITIONS = "sizes and JPEG qualities"

Card = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RateChange:
    """The true positive rate of each version for one engine, or under one degradation ("jpeg 60")."""

    what: str
    before: float
    after: float

    @property
    def drop(self) -> float:
        """By how much the rate falls."""
        return self.before - self.after


@dataclass(frozen=True, slots=True)
class MeasuredRate:
    """The false positive rate of a policy's threshold for each version, on a reference set that both have scored."""

    policy: str
    reference: str
    reals: int
    accepted: float
    before: Estimate
    after: Estimate

    @property
    def worse(self) -> bool:
        """Whether the new version flags more real photos than the old one, and surely more than the policy accepts."""
        return self.after.value > self.before.value and self.after.low > self.accepted


@dataclass(frozen=True, slots=True)
class QualityGate:
    """The rates that two cards have in common; ``unknown`` says what cannot be compared, in words.

    ``references``: the sets that both versions have scored, and ``measured``: what was found on them.
    """

    compared: list[RateChange]
    unknown: list[str]
    references: list[str] = field(default_factory=list)
    measured: list[MeasuredRate] = field(default_factory=list)

    @property
    def warning(self) -> str | None:
        """What to say loudly when nothing was measured: a card may be that of other weights."""
        if self.references:
            return None
        return (
            "the gate only read the cards, and measured nothing: no reference set has scores of both versions; build "
            "one with `unmask reference build NAME --manifest CSV --model VERSION`, once for each"
        )

    def check(self, max_drop: float) -> None:
        """Raises `ConflictError` naming every rate that falls by more than ``max_drop``, or flags too many reals."""
        self._check_measured()
        worse = [found for found in self.compared if found.drop > max_drop + 1e-9]
        if worse:
            said = ", ".join(f"{found.what} {found.before:.1%} to {found.after:.1%}" for found in worse)
            raise ConflictError(f"it finds less than --max-drop {max_drop:g} allows: {said}")

    def _check_measured(self) -> None:
        worse = [found for found in self.measured if found.worse]
        if worse:
            said = ", ".join(
                f"policy {found.policy!r} {found.before.value:.3%} to {found.after.value:.3%} "
                f"({found.after.low:.3%} to {found.after.high:.3%}) of {found.reals} {found.reference}, "
                f"accepted {found.accepted:.3%}"
                for found in worse
            )
            raise ConflictError(
                f"it flags more real photos than policy accepts: {said}; set the threshold on that set first "
                "(unmask threshold set --fpr F --reference NAME), so that the promotion carries it over on that set"
            )


def compare_cards(before: Card, after: Card) -> QualityGate:
    """Compare what two cards measured at the same target FPR, each on its own held-out photos."""
    engines = _compare(_ENGINES, _engines(before), _engines(after))
    conditions = _compare(_CONDITIONS, _sweep(before), _sweep(after))
    return QualityGate(engines.compared + conditions.compared, engines.unknown + conditions.unknown)


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


def _compare(what: str, before: _Rates | None, after: _Rates | None) -> QualityGate:
    if before is None or after is None:
        return QualityGate([], [f"{what}: one card does not measure them"])
    if before.target_fpr != after.target_fpr:
        return QualityGate([], [f"{what}: measured at FPRs of {before.target_fpr:g} and {after.target_fpr:g}"])
    both = [name for name in before.rates if name in after.rates]
    unknown = [f"{name}: not measured for the new version" for name in before.rates if name not in after.rates]
    return QualityGate([RateChange(name, before.rates[name], after.rates[name]) for name in both], unknown)
