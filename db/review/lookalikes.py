"""Flagged photos that are copies of one photo: their perceptual hashes differ in few bits, mirrored or not.

A hash is 32 bytes and is stored with the hash of the photo's mirror image; `worker.photos.phash` computes both.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, cast, func, literal, select
from sqlalchemy.dialects.postgresql import BIT, array
from sqlalchemy.orm import Session

from db.errors import DbError
from db.schema import Case, Flag, PerceptualHash
from db.store.dialect import insert

#: Bytes of one hash.
HASH_BYTES = 32
#: Two copies of one photo may differ in at most this many bits. Measured on 300 faces: all copies that were mirrored,
#: scaled to 64 px or saved as JPEG quality 20 differ in fewer bits, and no two of 44,850 pairs of different photos in
#: fewer than 38. Of copies cropped by 2 % on each side, 24 bits find 6 %; 48 bits would find 94 %, but also match two
#: pairs of different photos, and the number of pairs grows with the square of the number of photos.
MAX_BITS = 24
#: Photos near one of a case: the search looks at the flags of so many, the nearest.
_MOST_NEAR = 1000


@dataclass(frozen=True, slots=True)
class ClusterMember:
    """A case in a cluster."""

    case_id: int
    account_id: str | None
    policy: str
    state: str


@dataclass(frozen=True, slots=True)
class Lookalike:
    """A case with a copy of a photo of another case: the flag of the copy; the hashes differ in ``bits`` of 256."""

    case: ClusterMember
    bits: int
    flag_id: int


_MEMBERS = select(Case.id, Case.account_id, Case.policy, Case.state)


def store_hashes(session: Session, looks: Mapping[str, bytes]) -> None:
    """Store the hashes of flagged images, ``{image: hash + mirrored hash}``; existing rows stay as they are."""
    rows = [
        {"image_id": image_id, "hash": both[:HASH_BYTES], "mirrored": both[HASH_BYTES:]}
        for image_id, both in sorted(looks.items())
    ]
    if rows:
        session.execute(insert(session, PerceptualHash).values(rows).on_conflict_do_nothing())


def find_lookalikes(session: Session, case_id: int, max_bits: int = MAX_BITS, limit: int = 50) -> list[Lookalike]:
    """Other cases with a photo like one of this case, most alike first. Reads the hashes of all flagged photos."""
    own = session.execute(_looks_of().where(Flag.case_id == case_id)).all()
    asked = [look for row in own for look in (row.hash, row.mirrored)]
    if not asked:
        return []
    near = _near_sql if session.get_bind().dialect.name == "postgresql" else _near
    nearest = near(session, case_id, asked, max_bits)
    found = sorted(nearest, key=lambda other: (nearest[other][0], other))[:limit]
    cases = {case.id: ClusterMember(*case) for case in session.execute(_MEMBERS.where(Case.id.in_(found)))}
    return [Lookalike(cases[other], *nearest[other]) for other in found]


def _near(session: Session, case_id: int, asked: Sequence[bytes], max_bits: int) -> dict[int, tuple[int, int]]:
    """``{other case: (bits, flag)}``: the nearest photo of each other case, and in how many bits it differs."""
    photos = [int.from_bytes(look) for look in asked]
    nearest: dict[int, tuple[int, int]] = {}
    for other, look, flag_id in session.execute(_flagged_looks().where(Flag.case_id != case_id)):
        bits = min((int.from_bytes(look) ^ photo).bit_count() for photo in photos)
        if bits <= max_bits:
            nearest[other] = min((bits, flag_id), nearest.get(other, (bits, flag_id)))
    return nearest


def _near_sql(session: Session, case_id: int, asked: Sequence[bytes], max_bits: int) -> dict[int, tuple[int, int]]:
    """The same in SQL on PostgreSQL: there may be millions of photos, of which few are near.

    Each stored hash becomes bits once, and not once for each photo that is asked about: `unnest` keeps PostgreSQL from
    writing the conversion into every comparison. Their flags come by index, in a second statement: PostgreSQL cannot
    know how few they are, and would join all flags.
    """

    def as_bits(text: ColumnElement[str]) -> ColumnElement[Any]:
        return cast(literal("x").concat(text), BIT(8 * HASH_BYTES))

    once = func.unnest(array([as_bits(func.encode(PerceptualHash.hash, "hex"))]))
    looks = select(PerceptualHash.image_id, once.label("bits")).subquery()
    each = [func.bit_count(looks.c.bits.op("#")(as_bits(literal(photo.hex())))) for photo in asked]
    least = func.least(*each)
    near = select(looks.c.image_id, least).where(least <= max_bits).order_by(least).limit(_MOST_NEAR)
    bits: dict[str, int] = {image_id: int(found) for image_id, found in session.execute(near)}
    flags = select(Flag.case_id, Flag.image_id, Flag.id).where(Flag.image_id.in_(bits), Flag.case_id != case_id)
    nearest: dict[int, tuple[int, int]] = {}
    for other, image_id, flag_id in session.execute(flags):
        nearest[other] = min((bits[image_id], flag_id), nearest.get(other, (bits[image_id], flag_id)))
    return nearest


def find_clusters(session: Session, max_bits: int = MAX_BITS) -> list[list[ClusterMember]]:
    """Connected groups of cases with alike photos and at least two accounts, largest first.

    Raises `DbError` when faiss, an optional dependency, is not installed.
    """
    rows = _looks(session)
    members = {case.id: case for case in session.execute(_MEMBERS)}
    groups = _components((rows[one][0], rows[other][0]) for one, other in _pairs(rows, max_bits))
    found = [[ClusterMember(*members[case_id]) for case_id in sorted(group)] for group in groups]
    several = [group for group in found if len({member.account_id or member.case_id for member in group}) > 1]
    return sorted(several, key=lambda group: (-len(group), group[0].case_id))


def _flagged_looks() -> Select[int, bytes, int]:
    """(case, hash, flag) of each flagged photo that has been hashed."""
    return select(Flag.case_id, PerceptualHash.hash, Flag.id).join(
        PerceptualHash, PerceptualHash.image_id == Flag.image_id
    )


def _looks_of() -> Select[int, bytes, bytes]:
    """(case, hash, mirrored hash) of each flagged photo that has been hashed."""
    return select(Flag.case_id, PerceptualHash.hash, PerceptualHash.mirrored).join(
        PerceptualHash, PerceptualHash.image_id == Flag.image_id
    )


def _looks(session: Session) -> list[tuple[int, int, int]]:
    """The same for all cases, with hashes as integers."""
    rows = session.execute(_looks_of().order_by(Flag.case_id, Flag.id))
    return [(case_id, int.from_bytes(own), int.from_bytes(mirrored)) for case_id, own, mirrored in rows]


def _pairs(rows: Sequence[tuple[int, int, int]], max_bits: int) -> Iterable[tuple[int, int]]:
    """Index pairs of alike rows: each hash and each mirrored hash is searched among the hashes."""
    try:
        import faiss
        import numpy as np
    except ImportError as error:
        raise DbError("clusters need faiss: pip install 'unmask[clusters]'") from error
    if not rows:
        return
    own, mirrored = (
        np.frombuffer(b"".join(row[place].to_bytes(HASH_BYTES) for row in rows), np.uint8).reshape(-1, HASH_BYTES)
        for place in (1, 2)
    )
    index = faiss.IndexBinaryFlat(8 * HASH_BYTES)
    index.add(own)
    for asked in (own, mirrored):
        limits, _, found = index.range_search(asked, max_bits + 1)  # faiss excludes the radius itself
        for one in range(len(rows)):
            yield from ((one, int(other)) for other in found[limits[one] : limits[one + 1]] if other != one)


def _components(pairs: Iterable[tuple[int, int]]) -> list[set[int]]:
    """Connected components (union-find)."""
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
