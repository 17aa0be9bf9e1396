"""Files of images to pixels. Only the runner decodes what a client sent: a decoder that fails takes no server along."""

from __future__ import annotations

import io
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from server.errors import InvalidRequest
from server.messages.media import kind_of_sound

if TYPE_CHECKING:
    from PIL.Image import Image  # loaded for the first image

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP")
MOST_PIXELS = 100_000_000
BAD_IMAGE = "An image could not be read. Puna reads PNG, JPEG, WebP, GIF and BMP."


@dataclass(frozen=True, slots=True)
class Pixels:
    """`data` is [height, width, 3], red, green and blue."""

    width: int
    height: int
    data: npt.NDArray[np.uint8]


def is_sound(data: bytes) -> bool:
    """Whether a file is a sound by its first bytes, as clients of the API know it; everything else is an image."""
    return bool(kind_of_sound(data))


def read_image(data: bytes) -> Pixels:
    """The first picture of a file, upright, transparent parts white. Raises InvalidRequest."""
    from PIL import Image as images
    from PIL import ImageOps

    images.MAX_IMAGE_PIXELS = None  # the size is checked here, before anything is decoded
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as of broken notes in a photo
            with images.open(io.BytesIO(data), formats=FORMATS) as file:
                width, height = file.size
                if width * height > MOST_PIXELS:
                    raise InvalidRequest(
                        f"An image of {width} x {height} pixels is too large; the most is {MOST_PIXELS // 1_000_000} "
                        "million pixels."
                    )
                upright = ImageOps.exif_transpose(file)
                pixels = np.asarray(_flat(upright))
    except InvalidRequest:
        raise
    except Exception as error:  # Pillow's decoders raise whatever they like
        raise InvalidRequest(BAD_IMAGE, log=repr(error)) from error
    return Pixels(pixels.shape[1], pixels.shape[0], np.ascontiguousarray(pixels))


def _flat(image: Image) -> Image:
    """Eight bits of red, green and blue, whatever the file has."""
    from PIL import Image as images

    if image.mode.startswith("I"):  # 16 bits of grey, which `convert` would cut instead of scale
        return images.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        white = images.new("RGBA", image.size, "white")
        return images.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
