"""C2PA manifests: whether the signature holds, whose it is, and what the manifest says of the picture's origin.

The library is `c2pa-python`, the reference implementation's binding. It hashes the whole file, and compiled code reads
CBOR and certificates that an attacker wrote: so it runs in the sandbox alone. It fetches nothing: neither manifests by
URL, nor revocation lists, nor trust lists.
"""

import importlib.util
import io
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from db.file_signals import AI, AI_EDITED, CAMERA, CREDENTIALS, INVALID, UNTRUSTED, VALID, FileSignal
from worker.provenance.fields import MetadataError, MetadataField
from worker.provenance.generators import OriginTable

_TRUSTS = {"Trusted": VALID, "Valid": UNTRUSTED, "Invalid": INVALID}
_OFFLINE = {"remote_manifest_fetch": False, "ocsp_fetch": False}
_CREATED = "c2pa.created"
#: Manifests that are followed from a picture to the one that it was made of.
_MAX_PARENTS = 16
_MAX_ACTIONS = 200
#: Characters of a name from a manifest.
_MAX_NAME = 60


def available() -> bool:
    """Whether the library is installed: it comes with the extra "provenance"."""
    return importlib.util.find_spec("c2pa") is not None


def manifest_signals(data: bytes, media_type: str, table: OriginTable, anchors: str) -> list[FileSignal]:
    """What the manifest of a file says; nothing without one.

    ``anchors``: trusted certificates in PEM, or an empty text: then no signer is trusted. Raises `MetadataError`.
    """
    store = _read(data, media_type, anchors)
    if store is None:
        return []
    trust = _TRUSTS.get(str(store.get("validation_state")), INVALID)
    manifests = _mapping(store.get("manifests"))
    active = _mapping(manifests.get(store.get("active_manifest", "")))
    found = [_credentials(active, store, trust)]
    for manifest, kind in _lineage(manifests, active):
        found += _claims(manifest, kind, table, trust)
    return list(dict.fromkeys(found))


def _read(data: bytes, media_type: str, anchors: str) -> Mapping[str, Any] | None:
    import c2pa

    try:
        with c2pa.Reader(media_type, io.BytesIO(data), context=_context(anchors)) as reader:
            return _mapping(json.loads(reader.json()))
    except c2pa.C2paError.ManifestNotFound:
        return None
    except c2pa.C2paError as error:
        raise MetadataError(f"the C2PA manifest cannot be read: {str(error)[:80]}") from error
    except (ValueError, RecursionError) as error:
        raise MetadataError("the C2PA manifest cannot be read: its report is malformed") from error


@lru_cache(maxsize=1)
def _context(anchors: str) -> Any:
    import c2pa

    trust = {"trust": {"trust_anchors": anchors}} if anchors else {}
    return c2pa.Context.from_dict({"verify": _OFFLINE} | trust)


def _credentials(active: Mapping[str, Any], store: Mapping[str, Any], trust: str) -> FileSignal:
    signer = _mapping(active.get("signature_info"))
    parts = [f"made with {_name(_generator(active)) or 'unnamed software'}"]
    parts.append(f"signer named {_name(signer.get('issuer') or signer.get('common_name')) or 'nobody'}")
    if trust == INVALID:
        parts.append(f"fault {_fault(store)}")
    return FileSignal.of(CREDENTIALS, ", ".join(parts), "C2PA manifest", trust)


def _fault(store: Mapping[str, Any]) -> str:
    """The first fault that is not just a signer that nobody has listed."""
    codes = [str(_mapping(status).get("code", "")) for status in _list(store.get("validation_status"))]
    return _name(next((code for code in codes if code and not code.endswith(".untrusted")), "unknown"))


@dataclass(frozen=True, slots=True)
class _Lineage:
    """Of whom a manifest in the store is: the picture's own or a forebear's ("whole"), or of a part of it."""

    whole: bool
    where: str


def _lineage(manifests: Mapping[str, Any], active: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], _Lineage]]:
    """The picture's manifest, those of the pictures that it was made of, one after another, and then all others.

    What was said of a parent holds for the whole picture; what was said of any other ingredient, for a part of it.
    """
    seen: list[Mapping[str, Any]] = []
    manifest, where = active, "C2PA"
    while manifest and not any(manifest is one for one in seen) and len(seen) < _MAX_PARENTS:
        yield manifest, _Lineage(whole=True, where=where)
        seen.append(manifest)
        ingredients = [_mapping(one) for one in _list(manifest.get("ingredients"))]
        parent = next((one for one in ingredients if one.get("relationship") == "parentOf"), {})
        manifest, where = _mapping(manifests.get(str(parent.get("active_manifest")))), "C2PA parent"
    for other in list(manifests.values())[:_MAX_PARENTS]:
        if isinstance(other, dict) and not any(other is one for one in seen):
            yield other, _Lineage(whole=False, where="C2PA ingredient")


def _claims(manifest: Mapping[str, Any], of: _Lineage, table: OriginTable, trust: str) -> Iterator[FileSignal]:
    """What one manifest says: by source types of its actions, and by the names of software."""
    fields = [MetadataField("C2PA claim generator", _generator(manifest))]
    yield from (_of_part(one, of) for one in table.signals(fields, trust))
    for action in _actions(manifest):
        created = action.get("action") == _CREATED
        step = _Lineage(of.whole and created, of.where)
        if known := table.source_type(str(action.get("digitalSourceType") or "")):
            kind, name = known
            if kind != CAMERA or step.whole:
                yield _of_part(FileSignal.of(kind, name, _name(action.get("action")), trust), step)
        agent = action.get("softwareAgent")
        name = str(_mapping(agent).get("name", "")) if isinstance(agent, dict) else str(agent or "")
        yield from (_of_part(one, step) for one in table.signals([MetadataField("C2PA software agent", name)], trust))


def _of_part(signal: FileSignal, of: _Lineage) -> FileSignal:
    """The signal, as one about a part of the picture where it is; named by the manifest in which it was found."""
    kind = AI_EDITED if signal.kind == AI and not of.whole else signal.kind
    return FileSignal.of(kind, signal.value, f"{of.where}: {signal.where.removeprefix('C2PA ')}", signal.trust)


def _actions(manifest: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    assertions = [_mapping(one) for one in _list(manifest.get("assertions"))]
    lists = [_list(_mapping(one.get("data")).get("actions")) for one in assertions if _is_actions(one)]
    return [_mapping(action) for actions in lists for action in actions][:_MAX_ACTIONS]


def _is_actions(assertion: Mapping[str, Any]) -> bool:
    return str(assertion.get("label", "")).startswith("c2pa.actions")


def _generator(manifest: Mapping[str, Any]) -> str:
    infos = _list(manifest.get("claim_generator_info"))
    named = _mapping(infos[0]).get("name") if infos else None
    return str(named or manifest.get("claim_generator") or "")[:1000]


def _name(value: object) -> str:
    return str(value or "")[:_MAX_NAME]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: object) -> list[Any]:
    return value if isinstance(value, list) else []
