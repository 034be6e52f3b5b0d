"""A new version may not find less of any engine, size or JPEG quality than the cards allow."""

from typing import Any

import pytest

from db.errors import ConflictError
from db.rollout.quality_gate import compare_cards


def card(engines: dict[str, float], sweep: dict[tuple[str, int], float] | None = None, fpr: float = 0.005) -> Any:
    rows = [{"kind": kind, "level": level, "tpr": tpr} for (kind, level), tpr in (sweep or {}).items()]
    return {
        "quality": {"target_fpr": fpr, "engines": {name: {"tpr": tpr} for name, tpr in engines.items()}},
        "findings": {"robustness": {"target_fpr": fpr, "rows": rows}} if sweep else None,
    }


def test_an_engine_that_is_found_less_shuts_the_gate_by_its_name() -> None:
    found = compare_cards(card({"sg2": 0.9, "sd2": 0.8}), card({"sg2": 0.85, "sd2": 0.95}))
    found.check(0.05)
    with pytest.raises(ConflictError, match=r"finds less than --max-drop 0\.02 allows: sg2 90\.0% to 85\.0%$"):
        found.check(0.02)


def test_so_does_a_size_or_a_jpeg_quality_but_not_what_is_no_condition_of_uploads() -> None:
    before = card({}, {("resize", 128): 0.5, ("jpeg", 60): 0.8, ("flip", 0): 0.9})
    found = compare_cards(before, card({}, {("resize", 128): 0.4, ("jpeg", 60): 0.7, ("flip", 0): 0.1}))
    with pytest.raises(ConflictError, match=r"allows: resize 128 50\.0% to 40\.0%, jpeg 60 80\.0% to 70\.0%$"):
        found.check(0.02)


def test_what_the_cards_do_not_say_is_unknown_and_said() -> None:
    found = compare_cards(card({"sg2": 0.9, "eg3d": 0.9}), card({"sg2": 0.9}))
    found.check(0.0)
    assert found.unknown == [
        "eg3d: not measured for the new version",
        "sizes and JPEG qualities: one card does not measure them",
    ]
    assert compare_cards({}, {}).unknown == [
        "engines: one card does not measure them",
        "sizes and JPEG qualities: one card does not measure them",
    ]


def test_rates_at_different_fprs_are_not_compared() -> None:
    found = compare_cards(card({"sg2": 0.9}, fpr=0.005), card({"sg2": 0.1}, fpr=0.01))
    found.check(0.0)
    assert "engines: measured at FPRs of 0.005 and 0.01" in found.unknown
