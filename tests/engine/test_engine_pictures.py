"""Files of images to pixels, whatever made them."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from server.engine.pictures import MOST_PIXELS, is_sound, read_image
from server.errors import InvalidRequest


def file_of(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def corner(data: bytes) -> tuple[int, ...]:
    return tuple(read_image(data).data[0, 0].tolist())


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "CMYK", "RGBA", "LA"])
def test_every_kind_of_pixel_becomes_red_green_and_blue(mode: str) -> None:
    kind = "JPEG" if mode == "CMYK" else "PNG"
    pixels = read_image(file_of(Image.new("RGB", (7, 5), "white").convert(mode), kind))
    assert (pixels.width, pixels.height, pixels.data.shape) == (7, 5, (5, 7, 3))
    assert pixels.data.dtype == np.uint8
    assert pixels.data.flags.c_contiguous
    assert pixels.data.min() >= 254


def test_what_is_transparent_is_white() -> None:
    assert corner(file_of(Image.new("RGBA", (4, 4), (0, 0, 0, 0)), "PNG")) == (255, 255, 255)
    assert corner(file_of(Image.new("RGBA", (4, 4), (255, 0, 0, 255)), "WEBP", lossless=True)) == (255, 0, 0)
    palette = Image.new("P", (4, 4), 1)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    assert corner(file_of(palette, "GIF", transparency=1)) == (255, 255, 255)


def test_a_photo_stands_upright() -> None:
    photo = Image.new("RGB", (8, 4), "white")
    photo.paste((255, 0, 0), (0, 0, 4, 4))
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned by a quarter
    pixels = read_image(file_of(photo, "PNG", exif=exif))
    assert (pixels.width, pixels.height) == (4, 8)
    assert pixels.data[0, 0].tolist() == [255, 0, 0]
    assert pixels.data[7, 3].tolist() == [255, 255, 255]


def test_sixteen_bits_of_grey_are_scaled() -> None:
    deep = Image.fromarray(np.full((3, 3), 0x8000, np.uint16))
    assert corner(file_of(deep, "PNG")) == (128, 128, 128)


def test_of_an_animation_the_first_picture_counts() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ("red", "blue")]
    data = file_of(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert corner(data) == (255, 0, 0)


def test_an_image_that_would_fill_the_memory_is_refused_unread() -> None:
    side = 60_000
    assert side * side > MOST_PIXELS
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + header
    data = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + chunk + struct.pack(">I", zlib.crc32(chunk))
    data += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    with pytest.raises(InvalidRequest, match="60000 x 60000 pixels is too large"):
        read_image(data)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP"])
@given(data=st.data())
def test_a_broken_file_is_an_error_or_an_image(kind: str, data: st.DataObject) -> None:
    whole = bytearray(file_of(Image.new("RGB", (16, 16), "red"), kind))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), max_size=8)):
        whole[place] = data.draw(st.integers(0, 255))
    cut = bytes(whole[: data.draw(st.integers(0, len(whole)))])
    try:
        pixels = read_image(cut)
    except InvalidRequest:
        return
    assert pixels.data.shape == (pixels.height, pixels.width, 3)


def test_other_files_are_refused_whatever_pillow_could_read() -> None:
    image = Image.new("RGB", (4, 4), "red")
    for data in (file_of(image, "TIFF"), file_of(image, "PPM"), b"", b"%!PS-Adobe-3.0 EPSF", b"<svg/>"):
        with pytest.raises(InvalidRequest, match="could not be read"):
            read_image(data)


def test_a_sound_is_told_by_its_first_bytes() -> None:
    assert all(map(is_sound, (b"RIFF\0\0\0\0WAVE", b"ID3\3", b"\xff\xfb\x90", b"fLaC\0")))
    assert not any(map(is_sound, (b"RIFF\0\0\0\0WEBP", b"\x89PNG", b"\xff\xd8\xff\xe0", b"", b"\xff", b"GIF89a")))
