"""What policies do with photos whose files say something of their origin: flag them, note it, or nothing.

A policy's own action comes before that of the policy "default". Only kinds that say "AI" can act: a camera's name is no
proof of anything, and absent metadata means nothing.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import Integer, Select, String, cast, func, literal, null, or_, select
from sqlalchemy.orm import Session

from db.errors import DbError
from db.file_signals import AI, AI_EDITED, INVALID, FileSignal, acting_evidence
from db.policy.coverage import DEFAULT, joinable
from db.schema import Image, Policy, Score, Signal
from db.work.signals import signals_of

FLAG, NOTE, OFF = "flag", "note", "off"
ACTIONS = (FLAG, NOTE, OFF)
#: The words of `unmask policy set --on`, and the kinds of signals that they stand for.
CONDITIONS = {"provenance=ai": AI, "provenance=ai_edited": AI_EDITED}


def parse_action(text: str) -> tuple[str, str]:
    """(kind, action) of "provenance=ai:flag"; raises `DbError`, which lists what there is."""
    condition, _, action = text.rpartition(":")
    if condition not in CONDITIONS or action not in ACTIONS:
        raise DbError(
            f"--on {text!r} is not CONDITION:ACTION: conditions are {', '.join(CONDITIONS)}, "
            f"actions are {', '.join(ACTIONS)}"
        )
    return CONDITIONS[condition], action


def actions_in_force(session: Session, policies: Collection[str]) -> dict[str, dict[str, str]]:
    """``{policy: {kind: action}}`` of these policies."""
    statement = select(Policy.name, Policy.signal_actions).where(Policy.name.in_({*policies, DEFAULT}))
    own = {name: actions or {} for name, actions in session.execute(statement)}
    return {name: own.get(DEFAULT, {}) | own.get(name, {}) for name in policies}


def flagging_evidence(session: Session, found: Mapping[str, tuple[str, Sequence[FileSignal]]]) -> dict[str, str]:
    """``{image: evidence}`` of the images, ``{image: (policy, signals)}``, that their policies flag for a signal."""
    saying = {
        image_id: (policy, signals)
        for image_id, (policy, signals) in found.items()
        if any(one.kind in CONDITIONS.values() for one in signals)
    }
    if not saying:  # nearly always: most files say nothing of AI
        return {}
    actions = actions_in_force(session, {policy for policy, _ in saying.values()})
    words = {one: acting_evidence(signals, actions[policy], FLAG) for one, (policy, signals) in saying.items()}
    return {image_id: evidence for image_id, evidence in words.items() if evidence is not None}


def acting_signals(session: Session, image_ids: Collection[str]) -> dict[str, list[dict[str, Any]]]:
    """``{image: signals}`` of those that have any, for applications: each with its policy's action, null for none."""
    found = signals_of(session, image_ids)
    if not found:
        return {}
    policy_of = dict(session.execute(select(Image.id, Image.policy).where(Image.id.in_(found))).all())
    actions = actions_in_force(session, set(policy_of.values()))
    return {
        image_id: [_document(signal, actions[policy_of[image_id]]) for signal in each]
        for image_id, each in found.items()
    }


def _document(signal: Signal, actions: Mapping[str, str]) -> dict[str, Any]:
    action = actions.get(signal.kind, OFF) if signal.trust != INVALID else OFF
    document = {"kind": signal.kind, "value": signal.value, "where": signal.place, "trust": signal.trust}
    tail = signal.tail_probability
    return document | {"action": None if action == OFF else action, "one_in_at_least": 1 / tail if tail else None}


def flagged_by_signals(session: Session, version_id: int) -> list[Select[*tuple[Any, ...]]]:
    """Photos, as `db.review.bulk_flags.open_cases` takes them, that signals flag now and that may join a case.

    For each kind of signal one statement. Only photos that this version has scored: each flag refers to a score.
    """
    names = list(session.scalars(select(Policy.name)))
    actions = actions_in_force(session, names)
    wanted = {kind: [name for name in names if actions[name].get(kind) == FLAG] for kind in CONDITIONS.values()}
    return [_photos(version_id, kind, policies) for kind, policies in wanted.items() if policies]


def _photos(version_id: int, kind: str, policies: Collection[str]) -> Select[*tuple[Any, ...]]:
    words = func.min(Signal.value.concat(" (").concat(Signal.place).concat(", ").concat(Signal.trust).concat(")"))
    return (
        select(
            Score.id.label("score_id"),
            Image.id.label("image_id"),
            Image.account_id,
            Image.policy,
            cast(null(), Integer).label("threshold_id"),
            cast(literal("provenance"), String).label("kind"),
            words.label("evidence"),
        )
        .join(Image, Image.id == Signal.image_id)
        .join(Score, Score.image_id == Image.id)
        .where(Signal.kind == kind, or_(Signal.trust.is_(None), Signal.trust != INVALID))
        .where(Score.version_id == version_id, Image.policy.in_(policies), *joinable())
        .group_by(Score.id, Image.id, Image.account_id, Image.policy)
    )
