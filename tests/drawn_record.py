"""A record for screenshots: drawn portraits of nobody, people of each role, cases of every kind, and their history."""

import random

from sqlalchemy import select, text, update

from db.access import people
from db.models import versions
from db.policy import scores, thresholds
from db.policy.scores import Provenance, Scored
from db.quality import sampling
from db.review import case_context, case_queue, lookalikes, reviews, team
from db.review.restrictions import restrict_case
from db.review.reviews import Decision
from db.review.settings import ReviewSettings
from db.schema import Case, Policy, Preview
from db.store import locks
from db.store.session import Database
from db.work import images
from db.work.images import NewImage
from tests import portraits

_ONE_VERDICT_EACH = """
INSERT INTO verdicts (sample_id, reviewer, verdict)
SELECT id, 'pat', CASE WHEN id % 4 = 0 THEN 'real' ELSE 'fake' END FROM samples WHERE id > 1
"""
_OPENED_BEFORE = "UPDATE cases SET created_at = datetime('now', '-' || :days || ' days') WHERE account_id LIKE 'day-%'"
ACCOUNTS = (
    ("lena-brandt", 0.9991, "default", 2),
    ("marco.v", 0.9987, "default", 1),
    ("nadia_k", 0.9968, "dating", 1),
    ("j.okafor", 0.9942, "default", 3),
    ("summer-sale-4711", 0.9971, "marketplace", 1),
    ("tomas_l", 0.9915, "dating", 1),
    ("k-family", 0.9929, "default", 1),
    ("ines.moreau", 0.9958, "dating", 1),
    ("old-decision", 0.9938, "default", 1),
)


def fill(database: Database, days: int) -> None:
    """Fill an empty record; ``days``: decisions of so many days, and samples with their verdicts."""
    _people_and_thresholds(database)
    for number, (account, score, policy, count) in enumerate(ACCOUNTS):
        _flag(database, number, account, score, policy, count)
    _copies(database)
    _age(database)
    _work(database)
    if days:
        _days_of_work(database, days)
    else:
        _decided_before(database)


def _days_of_work(database: Database, days: int) -> None:
    """Decisions of so many days, and samples with their verdicts."""
    with database.writing() as session:
        images.add_images(session, [NewImage(f"day-{one}", f"day-{one}", "x.jpg") for one in range(8 * days)], -60)
        found = [Scored(f"day-{one}", "default", 0.99, "f" * 64, 400_000, 512, 512) for one in range(8 * days)]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
        session.execute(text(_OPENED_BEFORE), {"days": days + 1})
        for number, case in enumerate(session.scalars(select(Case).where(Case.account_id.like("day-%")))):
            decision = ("confirmed", "confirmed", "dismissed", "unsure")[number % 4]
            made = Decision(case.id, case.version, ("sam", "pat")[number % 2], decision)
            reviews.decide_case(session, made, ReviewSettings())
        sampling.draw_strata(session, sampling.Sizes(10, 10, 10), "lee", 60)
        session.execute(text(_ONE_VERDICT_EACH))
        session.execute(text("UPDATE samples SET judged = 1 WHERE id > 1"))
    with database.writing() as session:
        session.execute(text("DROP TRIGGER reviews_no_update"))  # only here: the decisions were made on several days
        session.execute(
            text("UPDATE reviews SET created_at = datetime('now', '-' || (id % :days) || ' days')"), {"days": days}
        )
        session.execute(text("UPDATE samples SET held_by = 'lee', held_until = '2999-01-01' WHERE id = 1"))


def _decided_before(database: Database) -> None:
    """Decisions of earlier weeks, from which the queue learns: the higher a score, the more were AI-generated."""
    chance = random.Random(7)  # noqa: S311 - a drawing
    made = {f"before-{one}": 0.985 + 0.015 * chance.random() for one in range(160)}
    with database.writing() as session:
        images.add_images(session, [NewImage(one, one, "x.jpg") for one in made], -60)
        found = [Scored(one, "default", score, "f" * 64, 400_000, 512, 512) for one, score in made.items()]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
        for case in session.scalars(select(Case).where(Case.account_id.like("before-%"))):
            generated = chance.random() < (case.highest - 0.98) / 0.02
            decision = Decision(case.id, case.version, "sam", "confirmed" if generated else "dismissed")
            reviews.decide_case(session, decision, ReviewSettings())
        case_queue.acquire_case(session, 4, "sam", 600)


def _people_and_thresholds(database: Database) -> None:
    reals = [(number / 1006) ** 6 for number in range(1006)]
    with database.writing() as session:
        session.add_all([Policy(name=name, created_by="lee") for name in ("dating", "marketplace")])
        version = versions.register(session, "unmask-1", "1" * 64, "unmask-1", {"name": "unmask-1", "reference": {
            "name": "reals", "scores": reals}})  # fmt: skip
        for policy in ("default", "dating"):
            thresholds.set_value(session, version.id, policy, 0.985, "lee", "as in the trial")
        for name, role in {"pat": "reviewer", "sam": "reviewer", "lee": "lead", "cyn": "auditor"}.items():
            people.add_person(session, name, role)
        settings = ReviewSettings()
        team.save_template(session, settings, "Artefacts at the ears", "artefacts", "Ears and earrings differ.", "lee")
        team.save_template(session, settings, "Stock photo", "other", "The photo is a stock picture.", "lee")


def _flag(database: Database, number: int, account: str, score: float, policy: str, count: int) -> None:
    drawn = [portraits.portrait(10 * number + each) for each in range(count + 2)]
    ids = [f"{account}-{each}" for each in range(len(drawn))]
    with database.writing() as session:
        images.add_images(session, [NewImage(one, account, f"{one}.jpg", policy) for one in ids], -60)
        size = (portraits.WIDTH, portraits.HEIGHT)
        found = [
            Scored(one, policy, score - each / 1000 if each < count else 0.02, f"{number}{each}" * 32, 400_000, *size)
            for each, one in enumerate(ids)
        ]
        scores.record(session, found, Provenance(1, "eager-fp32", "cpu"))
        if account != "tomas_l":  # whose photo still waits for a worker
            for one, picture in zip(ids, drawn, strict=True):
                session.add(Preview(image_id=one, kind="photo", picture=portraits.jpeg(picture, 512)))
                session.add(Preview(image_id=one, kind="original", picture=portraits.jpeg(picture)))
                session.add(Preview(image_id=one, kind="heatmap", picture=portraits.heatmap()))


def _copies(database: Database) -> None:
    """The photo of marco.v is used by summer-sale-4711 and nadia_k, too."""
    copied = portraits.portrait(10)
    hashes = dict.fromkeys(("marco.v-0", "summer-sale-4711-0", "nadia_k-0"), bytes(range(64)))
    with database.writing() as session:
        lookalikes.store_hashes(session, hashes)
        for one in ("summer-sale-4711-0", "nadia_k-0"):
            for kind, side in (("photo", 512), ("original", 4096)):
                picture = portraits.jpeg(copied, side)
                session.execute(
                    update(Preview).where(Preview.image_id == one, Preview.kind == kind).values(picture=picture)
                )


def _age(database: Database) -> None:
    with database.writing() as session:
        session.execute(text("UPDATE cases SET created_at = datetime('now', '-' || (id * id * 37) || ' minutes')"))
        session.execute(text("UPDATE images SET created_at = datetime('now', '-41 days')"))


def _work(database: Database) -> None:
    with database.writing() as session:
        facts = {"Member since": "2026-03-02", "Followers": 3, "Reports": 2, "E-mail confirmed": True, "Plan": "free"}
        case_context.set_facts(session, "lena-brandt", facts)
        case_context.add_comment(session, 1, "sam", "Two users reported this account for romance fraud.")
        restrict_case(session, 7, "pat", "minor")
        for case_id, decision in ((8, "confirmed"), (9, "dismissed")):
            version = session.get_one(Case, case_id).version
            reviews.decide_case(session, Decision(case_id, version, "sam", decision, "artefacts"), ReviewSettings())
        version = session.get_one(Case, 8).version
        reviews.appeal_decision(session, 8, version, "support", "She sent a photo with today's newspaper. It is her.")
        locks.acquire(session, "sweeper", "worker-1", 3600)
