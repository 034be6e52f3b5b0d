"""What a file says of its origin is read from wherever formats keep it, and told with how far it can be trusted."""

import re
import struct
import zlib
from typing import Any

import pytest

from db.file_signals import AI, AI_EDITED, CAMERA, CREDENTIALS, UNREAD, FileSignal
from tests.unit.worker.provenance.files import (
    CREATED,
    MEDIA_TYPES,
    SOURCE,
    authority,
    changed,
    exif,
    jpeg_with,
    picture,
    png_with,
    xmp,
)
from worker.provenance import generators
from worker.provenance.container import may_have_metadata
from worker.provenance.reader import read_signals

PARAMETERS = "a portrait\nNegative prompt: hands\nSteps: 20, Sampler: Euler a, CFG scale: 7, Seed: 1, Size: 512x512"
GRAPH = '{"3": {"class_type": "KSampler", "inputs": {"seed": 1}}}'
JOB = "portrait of a woman --ar 1:1 --v 6 Job ID: 01234567-89ab-cdef-0123-456789abcdef"
AS_UNICODE = b"UNICODE\0" + PARAMETERS.encode("utf-16-be")
IPTC = b"8BIM\x04\x04\0\0" + struct.pack(">I", 24) + b"\x1c\x02\x6e" + struct.pack(">H", 19) + b"Made with Google AI"
CAPTURED = {"action": "c2pa.created", "digitalSourceType": SOURCE + "digitalCapture"}
DRAWN = {"action": "c2pa.created", "digitalSourceType": SOURCE + "digitalCreation"}
EDITED = {"action": "c2pa.edited", "digitalSourceType": SOURCE + "trainedAlgorithmicMedia"}


def source_type(name: str) -> bytes:
    return xmp(f"><e:DigitalSourceType>{SOURCE}{name}</e:DigitalSourceType>")


#: A file, and what it says: kind, value and where.
FILES: dict[str, tuple[bytes, tuple[str, str, str]]] = {
    "Stable Diffusion in a PNG": (
        png_with((b"tEXt", b"parameters\0" + PARAMETERS.encode())),
        (AI, "Stable Diffusion parameters", "PNG parameters"),
    ),
    "Stable Diffusion in a JPEG": (
        picture("JPEG", exif=exif({}, {0x9286: AS_UNICODE})),
        (AI, "Stable Diffusion parameters", "EXIF UserComment"),
    ),
    "Stable Diffusion in a WebP": (
        picture("WEBP", exif=exif({}, {0x9286: AS_UNICODE})),
        (AI, "Stable Diffusion parameters", "EXIF UserComment"),
    ),
    "a ComfyUI graph, packed": (
        png_with((b"zTXt", b"prompt\0\0" + zlib.compress(GRAPH.encode()))),
        (AI, "ComfyUI graph", "PNG prompt"),
    ),
    "a ComfyUI graph, international": (
        png_with((b"iTXt", b"prompt\0\1\0en\0\0" + zlib.compress(GRAPH.encode()))),
        (AI, "ComfyUI graph", "PNG prompt"),
    ),
    "a ComfyUI graph as a camera's maker": (
        picture("WEBP", exif=exif({0x010F: "prompt:" + GRAPH})),
        (AI, "ComfyUI graph", "EXIF Make"),
    ),
    "NovelAI": (png_with((b"tEXt", b"Software\0NovelAI")), (AI, "NovelAI", "PNG Software")),
    "InvokeAI": (png_with((b"iTXt", b"invokeai_metadata\0\0\0\0\0{}")), (AI, "InvokeAI", "PNG invokeai_metadata")),
    "Midjourney": (png_with((b"tEXt", b"Description\0" + JOB.encode())), (AI, "Midjourney", "PNG Description")),
    "FLUX": (
        picture("JPEG", exif=exif({0x0131: "AI generated;txt2img;flux", 0x010F: "Black Forest Labs"})),
        (AI, "FLUX (Black Forest Labs)", "EXIF Make"),
    ),
    "Firefly": (
        picture("JPEG", xmp=xmp('xmp:CreatorTool="Adobe Firefly 3">')),
        (AI, "Adobe Firefly", "XMP xmp:CreatorTool"),
    ),
    "DALL-E": (
        picture("JPEG", exif=exif({0x0131: "OpenAI DALL-E 3"})),
        (AI, "DALL-E or ChatGPT (OpenAI)", "EXIF Software"),
    ),
    "Gemini": (picture("PNG", exif=exif({0x0131: "Google Gemini"})), (AI, "Google Gemini", "EXIF Software")),
    "Google AI in XMP": (
        picture("JPEG", xmp=xmp('photoshop:Credit="Made with Google AI">')),
        (AI, "Google AI", "XMP photoshop:Credit"),
    ),
    "Google AI in IPTC": (jpeg_with((0xED, b"Photoshop 3.0\0" + IPTC)), (AI, "Google AI", "IPTC Credit")),
    "an edit by Google AI": (
        picture("JPEG", xmp=xmp('photoshop:Credit="Edited with Google AI">')),
        (AI_EDITED, "Google AI", "XMP photoshop:Credit"),
    ),
    "a source type as an element": (
        picture("JPEG", xmp=source_type("trainedAlgorithmicMedia")),
        (AI, "trainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
    ),
    "a source type as a resource": (
        picture("WEBP", xmp=xmp(f'><e:DigitalSourceType rdf:resource="{SOURCE}trainedAlgorithmicMedia"/>')),
        (AI, "trainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
    ),
    "a source type in an AVIF": (
        picture("AVIF", xmp=source_type("trainedAlgorithmicMedia")),
        (AI, "trainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
    ),
    "a source type in a PNG's packet": (
        png_with((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + source_type("trainedAlgorithmicMedia"))),
        (AI, "trainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
    ),
    "a composite": (
        picture("JPEG", xmp=source_type("compositeWithTrainedAlgorithmicMedia")),
        (AI_EDITED, "compositeWithTrainedAlgorithmicMedia", "XMP Iptc4xmpExt:DigitalSourceType"),
    ),
    "a camera": (
        picture("JPEG", exif=exif({0x010F: "Canon", 0x0110: "EOS R5"}, {0xA434: b"RF50mm F1.2"})),
        (CAMERA, "Canon, EOS R5, RF50mm F1.2", "EXIF"),
    ),
    "a phone's AVIF": (
        picture("AVIF", exif=exif({0x010F: "Google", 0x0110: "Pixel 9"})),
        (CAMERA, "Google, Pixel 9", "EXIF"),
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_trace_is_found_with_its_place(name: str) -> None:
    data, wanted = FILES[name]
    assert may_have_metadata(data)
    assert FileSignal(*wanted, trust="unsigned") in read_signals(data)


@pytest.mark.parametrize("format_", ["JPEG", "PNG", "WEBP", "AVIF", "GIF"])
def test_a_file_without_metadata_says_nothing(format_: str) -> None:
    assert read_signals(picture(format_)) == []


@pytest.mark.parametrize(
    ("keyword", "text"),
    [
        ("Description", "Midjourney style, painted by me"),
        ("parameters", "Steps: 2 eggs"),
        ("Software", "Adobe ImageReady"),
    ],
)
def test_words_that_only_resemble_a_trace_are_none(keyword: str, text: str) -> None:
    assert read_signals(png_with((b"tEXt", f"{keyword}\0{text}".encode()))) == []


def test_where_a_photo_was_taken_and_by_whom_is_not_read() -> None:
    secrets = {0x013B: "Ada Lovelace", 0x8298: "(c) Ada", 0x0110: "EOS R5"}
    block = picture("JPEG", exif=exif(secrets, {0xA431: b"SERIAL-4711", 0xA430: b"Ada"}), comment=b"52.5 N 13.4 E")
    assert [one.value for one in read_signals(block)] == ["EOS R5"]


@pytest.mark.parametrize("format_", MEDIA_TYPES)
def test_a_manifest_is_valid_untrusted_or_invalid(format_: str) -> None:
    signed = authority().sign(picture(format_), MEDIA_TYPES[format_], [CREATED])
    for data, anchors, trust in (
        (signed, authority().anchors, "valid"),
        (signed, "", "untrusted"),
        (changed(signed, format_), authority().anchors, "invalid"),
    ):
        found = {one.kind: one for one in read_signals(data, anchors)}
        assert found[AI] == FileSignal(AI, "trainedAlgorithmicMedia", "C2PA: c2pa.created", trust)
        assert found[CREDENTIALS].trust == trust
        assert "made with Test Generator, signer named Test Pictures Inc" in found[CREDENTIALS].value
    assert re.search(r"fault assertion\.(dataHash|bmffHash)\.mismatch", found[CREDENTIALS].value)


@pytest.mark.parametrize(
    ("actions", "kind", "where"),
    [
        ([CAPTURED], CAMERA, "C2PA: c2pa.created"),
        ([CAPTURED, EDITED], AI_EDITED, "C2PA: c2pa.edited"),
        ([DRAWN | {"softwareAgent": {"name": "ChatGPT"}}], AI, "C2PA: software agent"),
        ([CAPTURED, {"action": "c2pa.edited", "softwareAgent": "Adobe Firefly"}], AI_EDITED, "C2PA: software agent"),
    ],
)
def test_a_manifest_says_what_was_captured_generated_or_edited(
    actions: list[dict[str, Any]], kind: str, where: str
) -> None:
    signed = authority().sign(picture("JPEG"), "image/jpeg", actions)
    assert (kind, where) in [(one.kind, one.where) for one in read_signals(signed)]
    assert kind == AI or AI not in [one.kind for one in read_signals(signed)]


def test_a_picture_made_of_a_generated_one_is_generated() -> None:
    generated = authority().sign(picture("JPEG"), "image/jpeg", [CREATED])
    made = authority().sign(generated, "image/jpeg", [{"action": "c2pa.color_adjustments"}], edit=True)
    assert (AI, "C2PA parent: c2pa.created") in [(one.kind, one.where) for one in read_signals(made)]


def test_a_manifest_that_lies_elsewhere_is_not_fetched() -> None:
    data = picture("JPEG", xmp=xmp('dcterms:provenance="http://127.0.0.1:9/manifest">'))
    assert [(one.kind, one.value) for one in read_signals(data)] == [
        (UNREAD, "the manifest lies at a URL, which is not fetched")
    ]


def test_each_entry_of_the_table_has_a_name_known_fields_and_a_pattern_that_matches_something() -> None:
    table = generators.origin_table()
    prefixes = re.compile(r"(PNG|EXIF|XMP|IPTC|C2PA) \S|JPEG comment")
    assert all(prefixes.match(field) for field in table.traces)
    assert all(trace.name and trace.kind in (AI, AI_EDITED) for traces in table.traces.values() for trace in traces)
    assert not any(trace.pattern.search("") for traces in table.traces.values() for trace in traces)
