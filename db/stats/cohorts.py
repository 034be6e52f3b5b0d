"""Cohorts of real photos: those with one value in one column of a manifest, such as a camera or a source."""

from collections.abc import Mapping, Sequence
from typing import TypedDict

#: A column with more values than this, or than half the reals, identifies photos rather than cohorts.
MOST_VALUES = 50
#: The cohort of photos without a value in the column.
NOT_GIVEN = "(not given)"


class CohortColumn(TypedDict):
    """A column as it is kept beside ascending scores: its values, and for each score the number of its value."""

    values: list[str]
    of: list[int]


def cohort_columns(rows: Sequence[Mapping[str, str | None]], leave_out: Sequence[str] = ()) -> list[str]:
    """The columns of real photos' rows that divide them into cohorts: those with a few values."""
    most = min(MOST_VALUES, len(rows) // 2)
    known = sorted({column for row in rows for column in row} - set(leave_out))
    return [column for column in known if 1 < len({row.get(column) or NOT_GIVEN for row in rows}) <= most]


def sort_with_cohorts(
    scores: Sequence[float], rows: Sequence[Mapping[str, str | None]], columns: Sequence[str]
) -> tuple[list[float], dict[str, CohortColumn]]:
    """The scores in ascending order, and the columns of their rows in the same order."""
    order = sorted(range(len(scores)), key=lambda index: scores[index])
    kept: dict[str, CohortColumn] = {}
    for column in columns:
        cells = [rows[index].get(column) or NOT_GIVEN for index in order]
        numbers = {value: number for number, value in enumerate(sorted(set(cells)))}
        kept[column] = {"values": list(numbers), "of": [numbers[cell] for cell in cells]}
    return [scores[index] for index in order], kept


def scores_by_cohort(
    ascending: Sequence[float], columns: Mapping[str, CohortColumn]
) -> dict[tuple[str, str], list[float]]:
    """The ascending scores of each (column, value)."""
    found: dict[tuple[str, str], list[float]] = {}
    for column, kept in columns.items():
        for score, number in zip(ascending, kept["of"], strict=True):
            found.setdefault((column, kept["values"][number]), []).append(score)
    return found
