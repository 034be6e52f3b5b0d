"""Which flagged photos show the same face: those whose perceptual hashes differ in few bits, mirrored or not.

A hash is 32 bytes, kept with that of the photo's mirror image: `worker.photos.looks` makes both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, func, literal, select
from sqlalchemy.dialects.postgresql import BIT
from sqlalchemy.orm import Session

from db.errors import DbError
from db.store.insert import insert
from db.schema import Case, Flag, Look

#: Bytes of one hash.
HASH_BYTES = 32
#: Bits in which two copies of one photo may differ. Of 300 faces, all copies that were mirrored, scaled to 64 px or
#: saved as JPEG 20 differed in fewer, and none of 44,850 pairs of different photos in fewer than 38. Of copies cut by
#: 2 % at each side 6 % did: 48 bits find 94 %, but also two pairs of strangers, and pairs grow with the square.
MAX_BITS = 24


@dataclass(frozen=True, slots=True)
class Member:
    """A case of a cluster."""

    case_id: int
    account_id: str | None
    policy: str
    state: str


@dataclass(frozen=True, slots=True)
class Alike:
    """A case with a photo that looks like one of another case's: their hashes differ in so many of 256 bits."""

    case: Member
    bits: int


_MEMBERS = select(Case.id, Case.account_id, Case.policy, Case.state)


def keep(session: Session, looks: Mapping[str, bytes]) -> None:
    """Of flagged images; one that is known stays as it is."""
    rows = [
        {"image_id": image_id, "hash": both[:HASH_BYTES], "mirrored": both[HASH_BYTES:]}
        for image_id, both in sorted(looks.items())
    ]
    if rows:
        session.execute(insert(session, Look).values(rows).on_conflict_do_nothing())


def same_face(session: Session, case_id: int, max_bits: int = MAX_BITS, limit: int = 50) -> list[Alike]:
    """Other cases with a photo that looks like one of this case's, the most alike first; reads every photo's hashes."""
    own = session.execute(_looks_of().where(Flag.case_id == case_id)).all()
    asked = [look for row in own for look in (row.hash, row.mirrored)]
    if not asked:
        return []
    near = _near_sql if session.get_bind().dialect.name == "postgresql" else _near
    nearest = near(session, case_id, asked, max_bits)
    found = sorted(nearest, key=lambda other: (nearest[other], other))[:limit]
    cases = {case.id: Member(*case) for case in session.execute(_MEMBERS.where(Case.id.in_(found)))}
    return [Alike(cases[other], nearest[other]) for other in found]


def _near(session: Session, case_id: int, asked: Sequence[bytes], max_bits: int) -> dict[int, int]:
    """In how many bits the nearest photo of each other case differs."""
    faces = [int.from_bytes(look) for look in asked]
    nearest: dict[int, int] = {}
    for other, look, _ in session.execute(_looks_of().where(Flag.case_id != case_id)):
        bits = min((int.from_bytes(look) ^ face).bit_count() for face in faces)
        if bits <= max_bits:
            nearest[other] = min(bits, nearest.get(other, bits))
    return nearest


def _near_sql(session: Session, case_id: int, asked: Sequence[bytes], max_bits: int) -> dict[int, int]:
    """The same, counted where the photos are: there may be millions."""

    def as_bits(text: ColumnElement[str]) -> ColumnElement[Any]:
        return cast(literal("x").concat(text), BIT(8 * HASH_BYTES))

    look = as_bits(func.encode(Look.hash, "hex"))
    each = [func.bit_count(look.op("#")(as_bits(literal(face.hex())))) for face in asked]
    least = func.least(*each)
    statement = select(Flag.case_id, func.min(least)).join(Look, Look.image_id == Flag.image_id)
    rows = session.execute(statement.where(Flag.case_id != case_id, least <= max_bits).group_by(Flag.case_id))
    return {other: int(bits) for other, bits in rows}


def clusters(session: Session, max_bits: int = MAX_BITS) -> list[list[Member]]:
    """Cases of more than one account that are alike, directly or by one between them; the largest cluster first."""
    rows = _looks(session)
    members = {case.id: case for case in session.execute(_MEMBERS)}
    groups = _joined((rows[one][0], rows[other][0]) for one, other in _pairs(rows, max_bits))
    found = [[Member(*members[case_id]) for case_id in sorted(group)] for group in groups]
    several = [group for group in found if len({member.account_id or member.case_id for member in group}) > 1]
    return sorted(several, key=lambda group: (-len(group), group[0].case_id))


def _looks_of() -> Select[int, bytes, bytes]:
    """(case, hash, mirrored) of flagged photos that have them."""
    return select(Flag.case_id, Look.hash, Look.mirrored).join(Look, Look.image_id == Flag.image_id)


def _looks(session: Session) -> list[tuple[int, int, int]]:
    """Of every one, as numbers."""
    rows = session.execute(_looks_of().order_by(Flag.case_id, Flag.id))
    return [(case_id, int.from_bytes(own), int.from_bytes(mirrored)) for case_id, own, mirrored in rows]


def _pairs(rows: Sequence[tuple[int, int, int]], max_bits: int) -> Iterable[tuple[int, int]]:
    """Places of rows whose photos are alike: every hash is asked for the hashes and mirrored hashes near it."""
    try:
        import faiss
        import numpy as np
    except ImportError as error:
        raise DbError("clusters need faiss, which comes with the extra: pip install 'unmask[clusters]'") from error
    if not rows:
        return
    own, mirrored = (
        np.frombuffer(b"".join(row[place].to_bytes(HASH_BYTES) for row in rows), np.uint8).reshape(-1, HASH_BYTES)
        for place in (1, 2)
    )
    index = faiss.IndexBinaryFlat(8 * HASH_BYTES)
    index.add(own)
    for asked in (own, mirrored):
        limits, _, found = index.range_search(asked, max_bits + 1)  # faiss looks below the radius
        for one in range(len(rows)):
            yield from ((one, int(other)) for other in found[limits[one] : limits[one + 1]] if other != one)


def _joined(pairs: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Sets of what is connected."""
    leader: dict[int, int] = {}

    def top(item: int) -> int:
        while leader.setdefault(item, item) != item:
            leader[item] = leader[leader[item]]
            item = leader[item]
        return item

    for one, other in pairs:
        leader[top(one)] = top(other)
    groups: dict[int, set[int]] = {}
    for item in leader:
        groups.setdefault(top(item), set()).add(item)
    return list(groups.values())
