"""Photos with metadata: written by Pillow, signed by an authority of the test's own, or put together by hand."""

import datetime as dt
import functools
import io
import json
import struct
import zlib
from typing import Any

import c2pa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from PIL import ExifTags, Image

MEDIA_TYPES = {"JPEG": "image/jpeg", "PNG": "image/png", "WEBP": "image/webp", "AVIF": "image/avif"}
SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/"
#: What a generator writes of its picture.
CREATED = {"action": "c2pa.created", "digitalSourceType": SOURCE + "trainedAlgorithmicMedia"}
_DAY = dt.timedelta(days=1)


class Authority:
    """Certificates for signing: a root, and a signer below it."""

    def __init__(self) -> None:
        root_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        root, leaf = _name("Root", "Test Trust"), _name("Signer", "Test Pictures Inc")
        root_certificate = _certificate(root, root, root_key.public_key(), root_key, authority=True)
        signer = _certificate(leaf, root, key.public_key(), root_key, authority=False)
        self.anchors = _pem(root_certificate).decode()
        private = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        chain = _pem(signer) + _pem(root_certificate)
        self._info = c2pa.C2paSignerInfo(b"es256", chain, private, None)

    def sign(self, data: bytes, media_type: str, actions: list[dict[str, Any]], *, edit: bool = False) -> bytes:
        """The file with a manifest of these actions; ``edit``: the file as it is becomes the picture's parent."""
        manifest = {
            "claim_generator_info": [{"name": "Test Generator", "version": "1"}],
            "format": media_type,
            "assertions": [{"label": "c2pa.actions", "data": {"actions": actions}}],
        }
        settings = {"verify": {"remote_manifest_fetch": False}, "builder": {"thumbnail": {"enabled": False}}}
        out = io.BytesIO()
        with (
            c2pa.Context.from_dict(settings) as context,
            c2pa.Signer.from_info(self._info) as signer,
            c2pa.Builder(json.dumps(manifest), context=context) as builder,
        ):
            if edit:
                builder.set_intent(c2pa.C2paBuilderIntent.EDIT)
            builder.sign(signer, media_type, io.BytesIO(data), out)
        return out.getvalue()


@functools.lru_cache(maxsize=1)
def authority() -> Authority:
    return Authority()


def picture(format_: str = "JPEG", **options: Any) -> bytes:
    """A small photo in this format, with Pillow's options."""
    out = io.BytesIO()
    Image.effect_noise((64, 64), 60).convert("RGB").save(out, format_, **options)
    return out.getvalue()


def png_with(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG with these chunks before its end, so after its pixels."""
    data = picture("PNG")
    end = data.rindex(b"IEND") - 4
    return data[:end] + b"".join(chunk(name, body) for name, body in chunks) + data[end:]


def jpeg_with(*segments: tuple[int, bytes]) -> bytes:
    """A JPEG with these segments, by the number of their marker, at its start."""
    data = picture("JPEG")
    made = (b"\xff" + bytes([kind]) + struct.pack(">H", len(body) + 2) + body for kind, body in segments)
    return data[:2] + b"".join(made) + data[2:]


def changed(data: bytes, format_: str) -> bytes:
    """The file with another bit in its pixels."""
    place = data.index({"JPEG": b"\xff\xda", "PNG": b"IDAT", "WEBP": b"VP8 ", "AVIF": b"mdat"}[format_]) + 60
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


def exif(entries: dict[int, str], sub: dict[int, bytes] | None = None) -> bytes:
    """An EXIF block with these tags, written by Pillow."""
    block = Image.Exif()
    block.update(entries)
    block.get_ifd(ExifTags.IFD.Exif).update(sub or {})
    return block.tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))


def xmp(properties: str) -> bytes:
    """A packet with these properties, as attributes or elements of one description."""
    return (
        '<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" '
        'xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/" '
        'xmlns:e="http://iptc.org/std/Iptc4xmpExt/2008-02-29/" xmlns:dcterms="http://purl.org/dc/terms/" '
        f"{properties}</rdf:Description></rdf:RDF></x:xmpmeta><?xpacket end='w'?>"
    ).encode()


def _name(common: str, organization: str) -> x509.Name:
    parts = {NameOID.COUNTRY_NAME: "US", NameOID.ORGANIZATION_NAME: organization, NameOID.COMMON_NAME: common}
    return x509.Name([x509.NameAttribute(oid, text) for oid, text in parts.items()])


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    key: ec.EllipticCurvePublicKey,
    signing: ec.EllipticCurvePrivateKey,
    *,
    authority: bool,
) -> x509.Certificate:
    now = dt.datetime.now(dt.UTC)
    usage = dict.fromkeys(
        ("content_commitment", "key_encipherment", "data_encipherment", "key_agreement", "encipher_only"), False
    )
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _DAY)
        .not_valid_after(now + 30 * _DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        .add_extension(
            x509.KeyUsage(
                digital_signature=True, key_cert_sign=authority, crl_sign=authority, decipher_only=False, **usage
            ),
            critical=True,
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signing.public_key()), critical=False)
    )
    if not authority:
        builder = builder.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), critical=False)
    return builder.sign(signing, hashes.SHA256())


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
