"""What all tables have in common."""

from datetime import datetime

from sqlalchemy import BigInteger, CheckConstraint, Integer, MetaData, Text
from sqlalchemy.orm import DeclarativeBase

from db.schema.clock import UtcDateTime

ID_LENGTH = 128

#: 64 bits where the database counts them; SQLite numbers rows only in a plain INTEGER column.
BigId = BigInteger().with_variant(Integer(), "sqlite")


class Base(DeclarativeBase):
    """Every constraint has a name by convention, so that migrations can find it again."""

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
    """A column that holds one of these."""
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def length(column: str, limit: int = ID_LENGTH) -> CheckConstraint:
    """Text of a column that is neither empty nor longer than this."""
    return CheckConstraint(f"length({column}) BETWEEN 1 AND {limit}", name=f"{column}_length")
