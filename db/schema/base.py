"""The base of all tables, and the constraints that several of them use."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Index, Integer, MetaData, Text, func, text
from sqlalchemy.orm import DeclarativeBase

from db.schema.clock import UtcDateTime

ID_LENGTH = 128

#: 64 bits; SQLite numbers rows only in a plain INTEGER column, which has 64 bits anyway.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Every constraint is named by convention, so that migrations can find it."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime(), str: Text(), int: Integer()}  # noqa: RUF012 - SQLAlchemy's way


def one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    """A constraint: the column holds one of these values."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def length(column: str, limit: int = ID_LENGTH) -> CheckConstraint:
    """A constraint: the column's text is neither empty nor longer than ``limit``."""
    return CheckConstraint(f"length({column}) BETWEEN 1 AND {limit}", name=f"{column}_length")


def prefix_index(table: str, column: str) -> Index:
    """An index of PostgreSQL's that finds ids by how they begin, whatever their letter case. SQLite reads all rows."""
    lower = func.lower(text(column)).label("lower")
    found = Index(f"ix_{table}_{column}_any_case", lower, postgresql_ops={"lower": "text_pattern_ops"})
    return found.ddl_if(dialect="postgresql")


def between(column: str, low: float, high: float) -> CheckConstraint:
    """A constraint: the column's number lies between these, so it is neither infinite nor NaN; or it is null."""
    return CheckConstraint(f"{column} BETWEEN {low} AND {high}", name=column)
