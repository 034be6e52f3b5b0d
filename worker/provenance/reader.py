"""Reads all signals of one file. It runs in the sandbox: see `worker.photos.sandbox`."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from db.file_signals import CAMERA, MAX_SIGNALS, UNREAD, FileSignal
from trainer.errors import Rejected
from worker.provenance import manifest
from worker.provenance.container import MetadataPart, file_type, metadata_parts
from worker.provenance.exif import exif_fields
from worker.provenance.fields import MetadataError, MetadataField
from worker.provenance.generators import OriginTable, origin_table
from worker.provenance.texts import XMP_KEYWORD, iptc_fields, png_text, text_field
from worker.provenance.xmp import xmp_fields

_SOURCE_TYPES = ("XMP Iptc4xmpExt:DigitalSourceType", "XMP Iptc4xmpExt:DigitalSourcefileType")
_REMOTE = "XMP dcterms:provenance"
#: Fields of the camera's maker, its model and its lens: EXIF's, or else XMP's.
_CAMERA = {
    "EXIF": ("EXIF Make", "EXIF Model", "EXIF LensModel"),
    "XMP": ("XMP tiff:Make", "XMP tiff:Model", "XMP exifEX:LensModel", "XMP aux:Lens"),
}
_MAX_NAME = 60


def read_signals(data: bytes, anchors: str = "") -> list[FileSignal]:
    """The signals of a photo's original bytes, at most `MAX_SIGNALS`; none where the file says nothing.

    ``anchors``: certificates in PEM of whose holders signatures are trusted. Metadata that cannot be read is a signal,
    too, and no error.
    """
    found = _FoundMetadata()
    for part in metadata_parts(data):
        found.add(part)
    media_type = file_type(data)
    if media_type == "image/avif":
        found.add_avif(data)
    signed = _signed(data, media_type, found, anchors)
    return list(dict.fromkeys([*signed, *_unsigned(found), *found.faults]))[:MAX_SIGNALS]


@dataclass(slots=True)
class _FoundMetadata:
    """The fields of a file, the faults of parts that cannot be read, and whether it has a C2PA manifest."""

    fields: list[MetadataField] = field(default_factory=list)
    faults: list[FileSignal] = field(default_factory=list)
    manifest: bool = False

    def add(self, part: MetadataPart) -> None:
        self.manifest |= part.kind == "c2pa"
        try:
            self.fields.extend(_fields(part))
        except MetadataError as error:
            self.faults.append(FileSignal.of(UNREAD, str(error), part.name))

    def add_avif(self, data: bytes) -> None:
        """AVIF keeps metadata in items, which take a decoder to find; its manifest lies in a box of its own."""
        from trainer.pixels.preprocess import open_checked

        self.manifest |= b"c2pa" in data
        try:
            info = open_checked(data).info
        except Rejected as error:
            self.faults.append(FileSignal.of(UNREAD, error.reason, "AVIF"))
            return
        for kind, name in (("exif", "EXIF"), ("xmp", "XMP")):
            if isinstance(body := info.get(kind), bytes):
                self.add(MetadataPart("exif" if kind == "exif" else "xmp", name, body))


def _fields(part: MetadataPart) -> Iterator[MetadataField]:
    match part.kind:
        case "exif":
            yield from exif_fields(part.body)
        case "xmp":
            yield from xmp_fields(part.body)
        case "iptc":
            yield from iptc_fields(part.body)
        case "comment":
            yield text_field("JPEG comment", part.body)
        case "text" if (found := png_text(part.name, part.body, origin_table().traces)) is not None:
            keyword, text = found
            yield from xmp_fields(text) if keyword == XMP_KEYWORD else [text_field(f"PNG {keyword}", text)]


def _signed(data: bytes, media_type: str | None, found: _FoundMetadata, anchors: str) -> list[FileSignal]:
    """What a C2PA manifest says; for one that lies elsewhere, only that it does: nothing is fetched."""
    if not found.manifest or media_type is None:
        remote = any(one.name == _REMOTE for one in found.fields)
        return [FileSignal.of(UNREAD, "the manifest lies at a URL, which is not fetched", "C2PA")] if remote else []
    if not manifest.available():
        return [FileSignal.of(UNREAD, "reading manifests needs unmask[provenance]", "C2PA")]
    try:
        return manifest.manifest_signals(data, media_type, origin_table(), anchors)
    except MetadataError as error:
        return [FileSignal.of(UNREAD, str(error), "C2PA")]


def _unsigned(found: _FoundMetadata) -> Iterator[FileSignal]:
    table = origin_table()
    traces = list(table.signals(found.fields))
    yield from traces
    yield from _source_types(found.fields, table)
    yield from _camera(found.fields, {trace.where for trace in traces})


def _source_types(fields: Iterable[MetadataField], table: OriginTable) -> Iterator[FileSignal]:
    for one in fields:
        if one.name in _SOURCE_TYPES and (known := table.source_type(one.text)):
            yield FileSignal.of(known[0], known[1], one.name)


def _camera(fields: Iterable[MetadataField], traced: set[str]) -> Iterator[FileSignal]:
    """Make, model and lens in one line; some generators write their graphs into these fields."""
    texts = {one.name: one.text.strip()[:_MAX_NAME] for one in fields if one.name not in traced}
    for where, names in _CAMERA.items():
        if words := [texts[name] for name in names if texts.get(name)]:
            yield FileSignal.of(CAMERA, ", ".join(words), where)
            return
