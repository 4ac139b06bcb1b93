"""Pictures of every kind a stranger may send, made in memory: the left half red, the rest white."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

ROTATED_LEFT = 6
"""EXIF orientation: the picture has to be turned clockwise by 90 degrees to stand upright."""
_ORIENTATION = 0x0112


def two_halves(mode: str = "RGB", size: tuple[int, int] = (40, 20)) -> Image.Image:
    """The left half red, the right half white."""
    picture = Image.new("RGB", size, "white")
    picture.paste("red", (0, 0, size[0] // 2, size[1]))
    return picture.convert(mode)


def saved(picture: Image.Image, format: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format=format, **options)
    return buffer.getvalue()


def png() -> bytes:
    return saved(two_halves(), "PNG")


def rotated_jpeg() -> bytes:
    exif = Image.Exif()
    exif[_ORIENTATION] = ROTATED_LEFT
    return saved(two_halves(), "JPEG", exif=exif, quality=95)


def sixteen_bit_png() -> bytes:
    grey = np.zeros((20, 40), dtype=np.uint16)
    grey[:, 20:] = 65_535
    return saved(Image.fromarray(grey), "PNG")


def animation(format: str, frames: int = 3) -> bytes:
    others = [Image.new("RGB", (40, 20), (0, 0, n % 256)) for n in range(frames - 1)]
    return saved(two_halves(), format, save_all=True, append_images=others)


def endless_animation(frames: int) -> bytes:
    """A GIF of many one-pixel frames; the library would merge equal ones, so it is put together by hand."""
    head = b"GIF89a" + struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    return head + frame * frames + b"\x3b"


def noise(format: str) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    return saved(Image.fromarray(pixels), format)


def png_of(width: int, height: int, pixels: bytes) -> bytes:
    """A PNG that claims a size in RGB; `pixels` is what it really unpacks to."""
    chunks = (
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(pixels, 9)),
        (b"IEND", b""),
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def bomb(width: int = 60_000, height: int = 60_000) -> bytes:
    """A small PNG that unpacks to gigabytes of zeros: a whole row of them, and the promise of the others."""
    return png_of(width, height, bytes(1 + 3 * width))
