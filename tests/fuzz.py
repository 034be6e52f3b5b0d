"""``make fuzz [SECONDS=n]``: a coverage-guided run of the decoder, which may refuse a file and do nothing else.

libFuzzer grows files from small ones of each format, towards code of the decoder and of Pillow's plugins that none
has reached. It stops at a file that raises anything but `Rejected`, or takes more than 2 s or 400 MB; and writes it.
"""

import io
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "trainer"]):
    from PIL import Image

    from trainer.errors import Rejected
    from trainer.pixels.preprocess import FORMATS, SIZE, decode

#: Bytes of a file: enough for a header, some chunks and some pixels.
_MAX_BYTES = 4096
_TIMEOUT_S = 2
#: Where the file that it stopped at comes to lie.
_ARTIFACTS = Path("var")
#: Of the process, which has 200 MB before its first picture.
_MAX_MB = 600


def one(data: bytes) -> None:
    """Decode a file, or refuse it."""
    try:
        picture = decode(data)
    except Rejected:
        return
    if picture.pixels.shape != (SIZE, SIZE, 3):
        raise ValueError(f"{picture.pixels.shape}")


def _seed(folder: Path) -> None:
    """A small file of each format and kind of pixels that it takes."""
    for format_ in FORMATS:
        for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"):
            file = io.BytesIO()
            try:
                Image.new(mode, (24, 16)).save(file, format_)
            except (OSError, ValueError):  # which has no such pixels
                continue
            (folder / f"{format_}-{mode.replace(';', '')}").write_bytes(file.getvalue())


def main() -> None:
    """For as many seconds as it was told."""
    (seconds,) = sys.argv[1:]
    _ARTIFACTS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="unmask-fuzz-") as name:
        folder = Path(name)
        _seed(folder)
        kept = f"-artifact_prefix={_ARTIFACTS}/"
        limits = [f"-max_len={_MAX_BYTES}", f"-timeout={_TIMEOUT_S}", f"-rss_limit_mb={_MAX_MB}", "-len_control=0"]
        atheris.Setup(
            [sys.argv[0], f"-max_total_time={seconds}", *limits, kept, "-print_final_stats=1", str(folder)], one
        )
        atheris.Fuzz()


if __name__ == "__main__":
    main()
