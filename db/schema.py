"""The tables. Constraints live in the database, so that they hold for every language that writes to it.

Scores, thresholds and reviews are appended, never changed. Ids are text of at most 128 characters.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import (
    JSON,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    LargeBinary,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    false,
    text,
)
from sqlalchemy import BigInteger as _BigInteger
from sqlalchemy import Integer as _Integer
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from db.clock import UtcDateTime, now

ID_LENGTH = 128
IMAGE_STATES = ("pending", "scored", "failed", "not_scorable")
VERSION_STATES = ("candidate", "shadow", "active", "retired")
CASE_STATES = ("open", "confirmed", "dismissed", "withdrawn")
PAUSABLE = ("flagging", "scoring")
RESCORE_STATES = ("running", "done", "stopped")
DECISIONS = ("confirmed", "dismissed", "unsure", "undone")
ROLES = ("reviewer", "lead", "auditor")
STRATA = ("flagged", "below", "unflagged")
VERDICTS = ("fake", "real", "unsure")
CASE_EVENTS = ("opened", "confirmed", "dismissed", "withdrawn", "reopened")
DELIVERY_STATES = ("pending", "done", "dead", "erased")

#: 64 bits where the database counts them; SQLite numbers rows only in a plain INTEGER column.
BigId = _BigInteger().with_variant(_Integer(), "sqlite")


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
    type_annotation_map = {datetime: UtcDateTime(), str: Text(), int: _Integer()}  # noqa: RUF012 - SQLAlchemy's way


def _one_of(column: str, values: tuple[str, ...]) -> CheckConstraint:
    return CheckConstraint(f"{column} IN ({', '.join(repr(value) for value in values)})", name=column)


def _length(column: str, limit: int = ID_LENGTH) -> CheckConstraint:
    return CheckConstraint(f"length({column}) BETWEEN 1 AND {limit}", name=f"{column}_length")


class Image(Base):
    """A photo to be scored once by the active model. ``INSERT INTO images (id, account_id, url, policy)`` is enough."""

    __tablename__ = "images"
    __table_args__ = (
        _one_of("state", IMAGE_STATES),
        _length("id"),
        _length("account_id"),
        _length("policy"),
        Index(
            "ix_images_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
        Index("ix_images_account_id", "account_id"),
        Index("ix_images_policy_created_at", "policy", "created_at"),
        Index(
            "ix_images_failed",
            "reason",
            postgresql_where=text("state IN ('failed', 'not_scorable')"),
            sqlite_where=text("state IN ('failed', 'not_scorable')"),
        ),
    )

    id: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    #: Null once the account was erased, as is the URL.
    account_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    url: Mapped[str | None]
    policy: Mapped[str] = mapped_column(String(ID_LENGTH), server_default="default")
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    #: Which worker process has it in hand. Until ``lease_until`` nobody (else) may take it: it is in hand, or pauses.
    lease_owner: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    lease_until: Mapped[datetime | None]
    #: How often it was taken in hand, and how often whoever did was never heard of again.
    attempts: Mapped[int] = mapped_column(server_default="0")
    losses: Mapped[int] = mapped_column(server_default="0")
    #: When the sweeper sends it (again), unless it is scored or in hand by then; and how often it did so for nothing.
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    sends: Mapped[int] = mapped_column(server_default="0")
    #: Why it was not scored (or not yet): a code that can be counted, and a sentence for people.
    reason: Mapped[str | None] = mapped_column(String(64))
    detail: Mapped[str | None]
    #: Of the file that was scored: its digest, and its size in bytes and pixels.
    sha256: Mapped[str | None] = mapped_column(String(64))
    bytes: Mapped[int | None]
    width: Mapped[int | None]
    height: Mapped[int | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    #: When its state last changed.
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class ModelVersion(Base):
    """A registered checkpoint; its file is ``<sha256>.safetensors`` in the models directory."""

    __tablename__ = "model_versions"
    __table_args__ = (
        _one_of("state", VERSION_STATES),
        UniqueConstraint("name"),
        UniqueConstraint("sha256"),
        Index(
            "uq_model_versions_active",
            "state",
            unique=True,
            postgresql_where=text("state = 'active'"),
            sqlite_where=text("state = 'active'"),
        ),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    sha256: Mapped[str] = mapped_column(String(64))
    preprocess: Mapped[str] = mapped_column(String(ID_LENGTH))
    card: Mapped[dict[str, Any]] = mapped_column(JSON)
    state: Mapped[str] = mapped_column(String(16), server_default="candidate")
    #: Since when workers score with it beside the active one, without flagging; null when they do not.
    shadow_since: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Promotion(Base):
    """Which version scored before and after a switch, who switched, and what it did to cases. Append-only."""

    __tablename__ = "promotions"
    __table_args__ = (_one_of("kind", ("promote", "rollback")),)

    id: Mapped[int] = mapped_column(primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    from_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    to_version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: The latest score at the switch: what comes after it is what a rollback must look at.
    last_score_id: Mapped[int] = mapped_column(BigId)
    #: How much of an engine's true positive rate was accepted to be lost; null for a rollback.
    max_drop: Mapped[float | None]
    opened: Mapped[int]
    withdrawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class ReferenceSet(Base):
    """Scores that a version gave to a named set of real photos. Append-only: thresholds quote it by name."""

    __tablename__ = "reference_sets"
    __table_args__ = (UniqueConstraint("name", "version_id"), _length("name"))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    reals: Mapped[int]
    #: Ascending, as packed by `db.references`: one row, since they are always read whole.
    scores: Mapped[bytes] = mapped_column(LargeBinary)
    #: Where the photos came from, and a digest of which they were: one name stands for one set.
    source: Mapped[str]
    digest: Mapped[str] = mapped_column(String(64))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Score(Base):
    """What a model version said of an image: 0 real, 1 AI-generated. Append-only."""

    __tablename__ = "scores"
    __table_args__ = (
        UniqueConstraint("image_id", "version_id"),
        CheckConstraint("score >= 0 AND score <= 1", name="score"),
        Index("ix_scores_version_id_score", "version_id", "score"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    score: Mapped[float]
    engine: Mapped[str] = mapped_column(String(64))
    device: Mapped[str] = mapped_column(String(64))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Threshold(Base):
    """From which score on a policy flags; the latest row of a policy and model version holds. Append-only."""

    __tablename__ = "thresholds"
    __table_args__ = (
        Index("ix_thresholds_policy_version_id", "policy", "version_id", "id"),
        CheckConstraint("value >= 0 AND value <= 1", name="value"),
        _length("policy"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    value: Mapped[float]
    #: The share of real photos that policy accepts to flag, and what was measured on the reference set.
    target_fpr: Mapped[float | None]
    measured_fpr: Mapped[float | None]
    fpr_low: Mapped[float | None]
    fpr_high: Mapped[float | None]
    reals: Mapped[int | None]
    reference: Mapped[str | None]
    #: Set although the reference set is too small to show its FPR.
    forced: Mapped[bool] = mapped_column(server_default=false())
    #: How many cases it opened and withdrew when it was applied.
    opened: Mapped[int | None]
    withdrawn: Mapped[int | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Case(Base):
    """An account that was flagged under a policy, for people to decide; at most one open at a time."""

    __tablename__ = "cases"
    __table_args__ = (
        _one_of("state", CASE_STATES),
        Index(
            "uq_cases_open",
            "account_id",
            "policy",
            unique=True,
            postgresql_where=text("state = 'open'"),
            sqlite_where=text("state = 'open'"),
        ),
        Index("ix_cases_state", "state", "policy", "created_at"),
        Index("ix_cases_state_created_at", "state", "created_at", "id"),
        Index("ix_cases_state_highest", "state", "highest", "id"),
        Index("ix_cases_state_policy_highest", "state", "policy", "highest", "id"),
        # LIKE 'prefix%' searches by it, whatever the database's collation.
        Index("ix_cases_account_id", "account_id", postgresql_ops={"account_id": "text_pattern_ops"}),
        Index(
            "ix_cases_held",
            "held_by",
            postgresql_where=text("held_by IS NOT NULL"),
            sqlite_where=text("held_by IS NOT NULL"),
        ),
        Index("ix_cases_second", "id", postgresql_where=text("second"), sqlite_where=text("second")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    account_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    state: Mapped[str] = mapped_column(String(16), server_default="open")
    #: Counts changes, so that a stale page cannot overwrite a newer decision.
    version: Mapped[int] = mapped_column(server_default="1")
    #: Why it was withdrawn.
    reason: Mapped[str | None]
    #: Of its flags' scores the highest, kept by a trigger of the database's: queues and lists are in its order.
    highest: Mapped[float] = mapped_column(server_default="0")
    #: Who is looking at it, and until when nobody else may decide it.
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: Somebody decided and it is still open: it waits for a second person.
    second: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Flag(Base):
    """A photo of a case: its score was at or above the threshold."""

    __tablename__ = "flags"
    __table_args__ = (
        UniqueConstraint("case_id", "score_id"),
        Index("ix_flags_score_id", "score_id"),
        Index("ix_flags_image_id", "image_id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id"))
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Look(Base):
    """A flagged photo's perceptual hash, and its mirror image's (see `db.lookalikes`); erased with the account."""

    __tablename__ = "looks"

    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"), primary_key=True)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    mirrored: Mapped[bytes] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Review(Base):
    """What a person decided about a case, and whether they saw the score when they did. Append-only."""

    __tablename__ = "reviews"
    __table_args__ = (
        _one_of("decision", DECISIONS),
        Index("ix_reviews_case_id", "case_id"),
        Index("ix_reviews_reviewer", "reviewer", "case_id"),
        Index("uq_reviews_undoes", "undoes", unique=True),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    decision: Mapped[str] = mapped_column(String(16))
    #: A code of a list that the platform chooses, and whatever else is to be said.
    reason: Mapped[str | None] = mapped_column(String(64))
    note: Mapped[str | None]
    blind: Mapped[bool]
    #: The decision that this one takes back; each once. No foreign key: SQLite adds none to a table that is there.
    undoes: Mapped[int | None] = mapped_column(BigId)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Appeal(Base):
    """Somebody asked for another decision: the case is open again, and others decide."""

    __tablename__ = "appeals"
    __table_args__ = (UniqueConstraint("review_id"), Index("ix_appeals_case_id", "case_id"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    #: The decision that it is about; it and those before it no longer count.
    review_id: Mapped[int] = mapped_column(ForeignKey("reviews.id"))
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: Null once the account was erased: it may be its owner's words.
    reason: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Draw(Base):
    """A random sample of what was scored in a while, of one policy and one range of scores, and out of how many."""

    __tablename__ = "draws"
    __table_args__ = (_one_of("stratum", STRATA), Index("ix_draws_policy", "policy", "version_id", "until"))

    id: Mapped[int] = mapped_column(primary_key=True)
    policy: Mapped[str] = mapped_column(String(ID_LENGTH))
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: What was flagged by it, and the scores from ``low`` to below ``high`` that this sample is of.
    threshold_id: Mapped[int] = mapped_column(ForeignKey("thresholds.id"))
    stratum: Mapped[str] = mapped_column(String(16))
    low: Mapped[float]
    high: Mapped[float]
    #: Photos that came in from ``since`` to before ``until``, never more than a week.
    since: Mapped[datetime]
    until: Mapped[datetime]
    population: Mapped[int]
    drawn: Mapped[int]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Sample(Base):
    """A photo that chance drew, to be shown to people without its score."""

    __tablename__ = "samples"
    __table_args__ = (
        UniqueConstraint("score_id"),
        Index("ix_samples_draw_id", "draw_id"),
        Index("ix_samples_image_id", "image_id"),
        Index("ix_samples_open", "id", postgresql_where=text("NOT judged"), sqlite_where=text("NOT judged")),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    draw_id: Mapped[int] = mapped_column(ForeignKey("draws.id"))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    score_id: Mapped[int] = mapped_column(ForeignKey("scores.id"))
    #: With which it was drawn.
    probability: Mapped[float]
    held_by: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    held_until: Mapped[datetime | None]
    #: Somebody was sure.
    judged: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Verdict(Base):
    """What a person said of a sampled photo, without knowing its score. Append-only."""

    __tablename__ = "verdicts"
    __table_args__ = (_one_of("verdict", VERDICTS), UniqueConstraint("sample_id", "reviewer"))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    sample_id: Mapped[int] = mapped_column(ForeignKey("samples.id"))
    reviewer: Mapped[str] = mapped_column(String(ID_LENGTH))
    verdict: Mapped[str] = mapped_column(String(16))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class RetentionPass(Base):
    """The one way past "append-only": a transaction with a row here may delete. The row goes before it commits."""

    __tablename__ = "retention_pass"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class Preview(Base):
    """A small re-encoded picture of an image that reviewers are shown; null ``picture``: deleted by retention."""

    __tablename__ = "previews"
    __table_args__ = (UniqueConstraint("image_id", "kind"), _one_of("kind", ("photo", "heatmap")))

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    kind: Mapped[str] = mapped_column(String(16))
    picture: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Request(Base):
    """Work that people ask of workers; the sweeper sends it."""

    __tablename__ = "requests"
    __table_args__ = (
        _one_of("kind", ("heatmap", "preview", "rescore")),
        _one_of("state", ("pending", "done", "failed")),
        Index("ix_requests_due", "state", "next_attempt_at"),
        Index("ix_requests_image_id", "image_id", "kind", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    kind: Mapped[str] = mapped_column(String(16))
    image_id: Mapped[str] = mapped_column(ForeignKey("images.id"))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: Why it failed (or not yet succeeded): a code, and a sentence for people.
    reason: Mapped[str | None]
    detail: Mapped[str | None]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Pause(Base):
    """Somebody stopped or resumed flagging or scoring; the latest row of each holds. Append-only."""

    __tablename__ = "pauses"
    __table_args__ = (_one_of("what", PAUSABLE),)

    id: Mapped[int] = mapped_column(primary_key=True)
    what: Mapped[str] = mapped_column(String(16))
    paused: Mapped[bool]
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    reason: Mapped[str]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Person(Base):
    """Somebody who may sign in to the console. Only ever disabled: reviews and the audit log quote the name."""

    __tablename__ = "people"
    __table_args__ = (UniqueConstraint("name"), _length("name"), _one_of("role", ROLES))

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    role: Mapped[str] = mapped_column(String(16))
    #: As argon2 writes it; null: signs in by link, or through a trusted proxy.
    password: Mapped[str | None]
    disabled: Mapped[bool] = mapped_column(server_default=false())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class SignIn(Base):
    """A browser that somebody signed in with. Only the token's SHA-256 is here: who reads it cannot be that browser."""

    __tablename__ = "sign_ins"
    __table_args__ = (Index("ix_sign_ins_person_id", "person_id"),)

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    #: It ends when nothing was heard of it for a while, and at ``expires_at`` at the latest.
    seen_at: Mapped[datetime] = mapped_column(server_default=now())
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInLink(Base):
    """A link that signs somebody in once; using it deletes it. Of its token, too, only the SHA-256 is here."""

    __tablename__ = "sign_in_links"

    digest: Mapped[str] = mapped_column(String(64), primary_key=True)
    person_id: Mapped[int] = mapped_column(ForeignKey("people.id"))
    expires_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class SignInTry(Base):
    """A password that was wrong, or is being looked at; kept for as long as it is counted."""

    __tablename__ = "sign_in_tries"
    __table_args__ = (
        Index("ix_sign_in_tries_name", "name", "created_at"),
        Index("ix_sign_in_tries_address", "address", "created_at"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(ID_LENGTH))
    address: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class AuditEntry(Base):
    """Something that somebody saw or did in the console. Append-only; names cases and images, and no account."""

    __tablename__ = "audit_log"
    __table_args__ = (
        Index("ix_audit_log_who", "who", "id"),
        Index("ix_audit_log_case_id", "case_id", "id"),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    who: Mapped[str] = mapped_column(String(ID_LENGTH))
    #: A code that can be counted: "viewed", "decided", "signed_in" ...
    what: Mapped[str] = mapped_column(String(32))
    case_id: Mapped[int | None] = mapped_column(ForeignKey("cases.id"))
    #: No foreign key: retention deletes images, and the entry stays.
    image_id: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    detail: Mapped[str | None]
    created_at: Mapped[datetime] = mapped_column(server_default=now())


class Rescore(Base):
    """A backfill: a version is to score images that others scored. Workers take a few at a time when they are idle."""

    __tablename__ = "rescores"
    __table_args__ = (_one_of("state", RESCORE_STATES), Index("ix_rescores_state", "state"))

    id: Mapped[int] = mapped_column(primary_key=True)
    version_id: Mapped[int] = mapped_column(ForeignKey("model_versions.id"))
    #: Which images: of one policy, added since; null: all.
    policy: Mapped[str | None] = mapped_column(String(ID_LENGTH))
    since: Mapped[datetime | None]
    state: Mapped[str] = mapped_column(String(16), server_default="running")
    #: Images a second, for all workers together, and when the next may be taken.
    rate_per_s: Mapped[float]
    next_at: Mapped[datetime] = mapped_column(server_default=now())
    #: The last image that was given out, and how many of those given out nobody has reported: when some are left at the
    #: end, their worker died, and another pass begins.
    cursor: Mapped[str] = mapped_column(String(ID_LENGTH), server_default="")
    in_hand: Mapped[int] = mapped_column(server_default="0")
    passes: Mapped[int] = mapped_column(server_default="1")
    scored: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    author: Mapped[str] = mapped_column(String(ID_LENGTH))
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class WebhookSwitch(Base):
    """While it has a row, what becomes of cases is told to the platform: triggers on cases write deliveries."""

    __tablename__ = "webhook_switch"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)


class Delivery(Base):
    """Something that the platform is to be told of a case; written by a trigger where the case changes."""

    __tablename__ = "deliveries"
    __table_args__ = (
        _one_of("event", CASE_EVENTS),
        _one_of("state", DELIVERY_STATES),
        UniqueConstraint("case_id", "version"),
        Index(
            "ix_deliveries_due",
            "next_attempt_at",
            postgresql_where=text("state = 'pending'"),
            sqlite_where=text("state = 'pending'"),
        ),
    )

    id: Mapped[int] = mapped_column(BigId, Identity(), primary_key=True)
    case_id: Mapped[int] = mapped_column(ForeignKey("cases.id"))
    #: Of the case, as it was then: whoever gets two of them out of order can tell.
    version: Mapped[int]
    event: Mapped[str] = mapped_column(String(16))
    state: Mapped[str] = mapped_column(String(16), server_default="pending")
    attempts: Mapped[int] = mapped_column(server_default="0")
    #: What came of the last attempt, if it failed.
    reason: Mapped[str | None]
    next_attempt_at: Mapped[datetime] = mapped_column(server_default=now())
    created_at: Mapped[datetime] = mapped_column(server_default=now())
    changed_at: Mapped[datetime] = mapped_column(server_default=now())


class Lock(Base):
    """What one process does at a time, such as sweeping: who may, until when, and when it last did."""

    __tablename__ = "locks"

    name: Mapped[str] = mapped_column(String(ID_LENGTH), primary_key=True)
    owner: Mapped[str] = mapped_column(String(ID_LENGTH))
    until: Mapped[datetime]
    beat: Mapped[datetime]


class SchemaSupport(Base):
    """A revision whose software may still use this schema; kept by migrations."""

    __tablename__ = "schema_support"

    revision: Mapped[str] = mapped_column(String(32), primary_key=True)
