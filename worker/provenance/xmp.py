"""The few properties of an XMP packet that tell of a picture's origin.

Expat reports each element as it comes and no tree is built. A document type is refused, and with it every entity: an
entity could read files (XXE) or grow without end.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from xml.parsers import expat

from worker.provenance.fields import MAX_PACKET, MAX_TEXT, MetadataError, MetadataField

_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
#: Prefixes by which fields are named here, whatever the packet calls its namespaces.
_PREFIXES = {
    "http://ns.adobe.com/xap/1.0/": "xmp",
    "http://ns.adobe.com/photoshop/1.0/": "photoshop",
    "http://ns.adobe.com/tiff/1.0/": "tiff",
    "http://ns.adobe.com/exif/1.0/aux/": "aux",
    "http://ns.adobe.com/xap/1.0/sType/ResourceEvent#": "stEvt",
    "http://iptc.org/std/Iptc4xmpExt/2008-02-29/": "Iptc4xmpExt",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://cipa.jp/exif/1.0/": "exifEX",
}
WANTED = frozenset(
    {
        *("xmp:CreatorTool", "photoshop:Credit", "tiff:Software", "tiff:Make", "tiff:Model", "aux:Lens"),
        *("exifEX:LensModel", "stEvt:softwareAgent", "dc:description", "dcterms:provenance"),
        *("Iptc4xmpExt:DigitalSourceType", "Iptc4xmpExt:DigitalSourcefileType", "Iptc4xmpExt:AISystemUsed"),
    }
)
_MAX_DEPTH = 64
_MAX_ELEMENTS = 20_000
_MAX_FOUND = 200


@dataclass(slots=True)
class _PacketReader:
    """Collects the wanted properties: as attributes, as text, and as `rdf:resource`."""

    found: list[MetadataField] = field(default_factory=list)
    path: list[str] = field(default_factory=list)
    elements: int = 0

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.elements += 1
        if len(self.path) >= _MAX_DEPTH or self.elements > _MAX_ELEMENTS:
            raise MetadataError("the XMP packet has too many or too deep elements")
        self.path.append(_short(name))
        for key, value in attributes.items():
            self._keep(self._property() if key == f"{_RDF} resource" else _short(key), value)

    def end(self, _name: str) -> None:
        self.path.pop()

    def text(self, text: str) -> None:
        if text.strip():
            self._keep(self._property(), text)

    def _property(self) -> str:
        """The nearest element that is no container of RDF."""
        return next((name for name in reversed(self.path) if not name.startswith(_RDF)), "")

    def _keep(self, name: str, value: str) -> None:
        if name in WANTED and len(self.found) < _MAX_FOUND:
            self.found.append(MetadataField(f"XMP {name}", value[:MAX_TEXT]))


def xmp_fields(packet: bytes) -> Iterator[MetadataField]:
    """The wanted properties; raises `MetadataError`, after those before the fault, for a packet over a limit."""
    reader = _PacketReader()
    try:
        _parser(reader).Parse(packet[:MAX_PACKET].rstrip(b"\0"), len(packet) <= MAX_PACKET)
    except (expat.ExpatError, ValueError, LookupError) as error:  # the last two: an encoding that Python lacks
        fault: MetadataError | None = MetadataError(f"the XMP packet is malformed: {str(error)[:80]}")
    except MetadataError as error:
        fault = error
    else:
        fault = MetadataError(f"the XMP packet exceeds {MAX_PACKET} bytes") if len(packet) > MAX_PACKET else None
    yield from reader.found
    if fault is not None:
        raise fault


def _parser(reader: _PacketReader) -> expat.XMLParserType:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.buffer_text = True
    parser.buffer_size = MAX_TEXT
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse
    parser.EntityDeclHandler = _refuse
    return parser


def _refuse(*_declaration: object) -> None:
    raise MetadataError("the XMP packet has a document type, which is refused")


def _short(name: str) -> str:
    space, _, local = name.rpartition(" ")
    if space == _RDF:
        return f"{_RDF} {local}"
    return f"{_PREFIXES[space]}:{local}" if space in _PREFIXES else local
