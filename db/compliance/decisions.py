"""Decisions by date, one row each, and the formats in which they are written."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, TextIO

from sqlalchemy import exists, func, select
from sqlalchemy.orm import Session, aliased

from db.compliance.period import Period
from db.errors import DbError
from db.schema import Appeal, Case, Flag, Review

FORMATS = ("csv", "jsonl", "parquet")
#: The columns, in order, and how Parquet stores them.
COLUMNS: Mapping[str, str] = {
    "decision_id": "int64",
    "decided_at": "timestamp",
    "decision": "string",
    "reason": "string",
    "note": "string",
    "reviewer": "string",
    "blind": "bool",
    "undone": "bool",
    "appealed": "bool",
    "case": "int64",
    "account": "string",
    "policy": "string",
    "state": "string",
    "photos": "int64",
    "highest_score": "double",
    "opened_at": "timestamp",
}
_AT_ONCE = 1000
#: What a spreadsheet takes for the beginning of a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def read_decisions(session: Session, period: Period, policy: str | None = None) -> Iterator[Row]:
    """Decisions of the period, the oldest first; those that were undone say so."""
    undo, appeal = aliased(Review), aliased(Appeal)
    photos = select(func.count(Flag.image_id.distinct())).where(Flag.case_id == Case.id).scalar_subquery()
    statement = (
        select(
            Review,
            Case,
            photos,
            exists(select(undo.id).where(undo.undoes == Review.id)),
            exists(select(appeal.id).where(appeal.review_id == Review.id)),
        )
        .join(Case, Case.id == Review.case_id)
        .where(Review.created_at >= period.start, Review.created_at < period.end, Review.decision != "undone")
        .order_by(Review.created_at, Review.id)
        .execution_options(yield_per=_AT_ONCE)
    )
    if policy is not None:
        statement = statement.where(Case.policy == policy)
    for review, case, count, undone, appealed in session.execute(statement):
        yield _row(review, case, count) | {"undone": bool(undone), "appealed": bool(appealed)}


def write_csv(rows: Iterable[Row], out: TextIO) -> int:
    """Write rows as CSV; a text that a spreadsheet would calculate gets an apostrophe. Returns how many."""
    writer = csv.DictWriter(out, list(COLUMNS))
    writer.writeheader()
    return sum(bool(writer.writerow({name: _cell(row[name]) for name in COLUMNS})) for row in rows)


def write_jsonl(rows: Iterable[Row], out: TextIO) -> int:
    """Write a JSON object a line; returns how many."""
    count = 0
    for count, row in enumerate(rows, 1):  # noqa: B007 - the last number is the result
        out.write(json.dumps({name: _plain(row[name]) for name in COLUMNS}, ensure_ascii=False) + "\n")
    return count


def write_parquet(rows: Iterable[Row], path: str) -> int:
    """Write a Parquet file; raises `DbError` without the extra "parquet". Returns how many."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise DbError("Parquet needs the extra: pip install 'unmask[parquet]'") from error
    kinds = {"timestamp": pa.timestamp("us", tz="UTC"), "string": pa.string(), "bool": pa.bool_()}
    kinds |= {"int64": pa.int64(), "double": pa.float64()}
    schema = pa.schema([(name, kinds[kind]) for name, kind in COLUMNS.items()])
    count = 0
    with pq.ParquetWriter(path, schema) as writer:
        for batch in _batches(rows):
            writer.write_batch(pa.RecordBatch.from_pylist(batch, schema=schema))
            count += len(batch)
    return count


WRITERS: Mapping[str, Callable[[Iterable[Row], TextIO], int]] = {"csv": write_csv, "jsonl": write_jsonl}


def _row(review: Review, case: Case, photos: int) -> Row:
    return {
        "decision_id": review.id,
        "decided_at": review.created_at,
        "decision": review.decision,
        "reason": review.reason,
        "note": review.note,
        "reviewer": review.reviewer,
        "blind": review.blind,
        "case": case.id,
        "account": case.account_id,
        "policy": case.policy,
        "state": case.state,
        "photos": photos,
        "highest_score": case.highest,
        "opened_at": case.created_at,
    }


def _batches(rows: Iterable[Row]) -> Iterator[list[Row]]:
    batch: list[Row] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value


def _cell(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and value.startswith(_FORMULA) else _plain(value)
