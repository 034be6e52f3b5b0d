"""The families of synthesis engines: what one engine teaches, another of its family is often found by.

A manifest may name each picture's family in its column ``family``, also one that this table does not know.
"""

import re

GAN = "GAN"
LATENT_DIFFUSION = "latent diffusion"
PIXEL_DIFFUSION = "pixel diffusion"
RECTIFIED_FLOW = "rectified flow"
AUTOREGRESSIVE = "autoregressive"
#: The family of engines that neither the manifest nor the table knows.
UNKNOWN = "unknown"
#: The family of real photos, which come from no engine.
CAMERA = "camera"

#: How the names of engines begin, without case, spaces, dots and hyphens; the longest beginning counts.
_BEGINNINGS = {
    "stylegan": GAN,
    "progan": GAN,
    "pggan": GAN,
    "biggan": GAN,
    "stargan": GAN,
    "eg3d": GAN,
    "gan": GAN,
    "generatedphotos": GAN,
    "thispersondoesnotexist": GAN,
    "sd1": LATENT_DIFFUSION,
    "sd2": LATENT_DIFFUSION,
    "sdxl": LATENT_DIFFUSION,
    "stablediffusion": LATENT_DIFFUSION,
    "latentdiffusion": LATENT_DIFFUSION,
    "ldm": LATENT_DIFFUSION,
    "kandinsky": LATENT_DIFFUSION,
    "playground": LATENT_DIFFUSION,
    "pixart": LATENT_DIFFUSION,
    "midjourney": LATENT_DIFFUSION,
    "sd3": RECTIFIED_FLOW,
    "stablediffusion3": RECTIFIED_FLOW,
    "flux": RECTIFIED_FLOW,
    "auraflow": RECTIFIED_FLOW,
    "qwenimage": RECTIFIED_FLOW,
    "zimage": RECTIFIED_FLOW,
    "dalle2": PIXEL_DIFFUSION,
    "dalle3": LATENT_DIFFUSION,
    "imagen": PIXEL_DIFFUSION,
    "deepfloyd": PIXEL_DIFFUSION,
    "glide": PIXEL_DIFFUSION,
    "gptimage": AUTOREGRESSIVE,
    "gpt4o": AUTOREGRESSIVE,
    "januspro": AUTOREGRESSIVE,
    "var": AUTOREGRESSIVE,
}


def family_of(engine: str) -> str:
    """The family of an engine by its name; `UNKNOWN` where the table has none."""
    name = re.sub(r"[^a-z0-9]", "", engine.lower())
    if name == CAMERA:
        return CAMERA
    known = [beginning for beginning in _BEGINNINGS if name.startswith(beginning)]
    return _BEGINNINGS[max(known, key=len)] if known else UNKNOWN
