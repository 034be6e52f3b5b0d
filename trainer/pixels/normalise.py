"""One canvas and one re-encoding for every picture: the remedy when files tell the labels."""

import io

from PIL import Image

from trainer.pixels.preprocess import decode

#: One quality for all, by IJG's scale: about what sites write for profile photos.
QUALITY = 85


def normalise(data: bytes) -> bytes:
    """The picture as the detector sees it, 512×512, upright, RGB, on white, as a JPEG of quality 85, 4:2:0, bare.

    Format, width, height, aspect, quality, chroma subsampling, transparency and EXIF come out the same for all. The
    canvas is `preprocess.decode`'s: the whole picture, squeezed to a square. To keep the shape or the size of small
    pictures would keep aspect and size as shortcuts, bars around the picture would only paint them in, and cropping
    would lose what the detector is shown when it serves. Decoded again, it is the picture that serving sees, but for
    one JPEG encoding.

    What the picture itself carries stays: greyscale, blur from enlarging a small one, traces of an earlier encoding.
    The guard sees the first of these, and no file fact can show the others. Raises `Rejected` as ``decode`` does.
    """
    file = io.BytesIO()
    Image.fromarray(decode(data).pixels).save(file, "JPEG", quality=QUALITY, subsampling="4:2:0")
    return file.getvalue()
