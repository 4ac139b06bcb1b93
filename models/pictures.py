"""Decodes untrusted picture bytes into upright RGB, and makes thumbnails.

Guarantee: `decode_picture` returns a picture or raises `DataError`; the pixel limit is checked before any
pixel is decoded, and only the formats listed here are ever handed to a decoder.
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from streams.errors import DataError

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# A JPEG decoder can halve a picture while it decodes, which is several times faster; no encoder sees more.
_DRAFT_SIDE = 1024
_SIXTEEN_BIT = 65535.0

# How other formats begin; only used to say "not supported" instead of "cannot be decoded".
_OTHER_FORMATS: tuple[tuple[str, int, bytes], ...] = (
    ("PDF", 0, b"%PDF"),
    ("Photoshop", 0, b"8BPS"),
    ("PostScript", 0, b"%!PS"),
    ("icon", 0, b"\x00\x00\x01\x00"),
    ("JPEG 2000", 0, b"\x00\x00\x00\x0cjP  "),
    ("JPEG XL", 0, b"\x00\x00\x00\x0cJXL "),
    ("JPEG XL", 0, b"\xff\x0a"),
    ("HEIF, AVIF or video", 4, b"ftyp"),
    ("Matroska or WebM", 0, b"\x1a\x45\xdf\xa3"),
    ("OpenEXR", 0, b"\x76\x2f\x31\x01"),
    ("DirectDraw", 0, b"DDS "),
    ("QOI", 0, b"qoif"),
)


@dataclass(frozen=True)
class PictureLimits:
    """What a picture may ask of us: pixels of one frame, and frames of an animation or pages of a TIFF."""

    max_pixels: int = 50_000_000
    max_frames: int = 2_000


def decode_picture(data: bytes, *, limits: PictureLimits) -> Image.Image:
    """The first frame of a picture as upright RGB on white; a large JPEG comes out halved until near 1,024.

    Raises `DataError`: `unsupported_format` (SVG and others not in `FORMATS`), `image_too_large` (pixels or
    frames), `undecodable_image` (damaged, truncated or no picture at all).
    """
    image = _opened(data)
    width, height = image.size
    if width * height > limits.max_pixels:
        raise DataError(
            "image_too_large", f"{width} x {height} pixels, the limit is {limits.max_pixels:,} in all"
        )
    try:
        frames = int(getattr(image, "n_frames", 1))
        if frames <= limits.max_frames:
            image.draft(None, (_DRAFT_SIDE, _DRAFT_SIDE))
            image.load()
            return _on_white(_upright(image))
    except MemoryError:
        raise
    except Exception as error:  # decoders fail in many ways on damaged bytes; each is this picture's fault
        raise DataError("undecodable_image", f"{image.format} cannot be decoded: {error}") from error
    raise DataError("image_too_large", f"{frames:,} frames, the limit is {limits.max_frames:,}")


def thumbnail(picture: Image.Image, side: int = 256) -> bytes:
    """The picture as WEBP, its longer side at most `side` pixels; the same picture gives the same bytes."""
    small = picture.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="WEBP", quality=80, method=4)
    return buffer.getvalue()


def _opened(data: bytes) -> Image.Image:
    """Read the header only."""
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise DataError("image_too_large", str(error)) from error
    except MemoryError:
        raise
    except Exception as error:  # as above: any failure to read a header is this picture's fault
        other = _other_format(data)
        if other is not None:
            raise DataError("unsupported_format", f"{other}; send one of {', '.join(FORMATS)}") from error
        raise DataError("undecodable_image", "these bytes are not a readable picture") from error


def _other_format(data: bytes) -> str | None:
    head = data[:1024]
    if b"<svg" in head.lower():
        return "SVG"
    return next((name for name, at, magic in _OTHER_FORMATS if head[at : at + len(magic)] == magic), None)


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF says; damaged EXIF is no reason to refuse a picture."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:
        return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, layer).convert("RGB")
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bit(image).convert("RGB")
    return image.convert("RGB")


def _eight_bit(image: Image.Image) -> Image.Image:
    """16-bit and float grey as 8-bit grey: the whole range of 16 bits, or from least to greatest value."""
    grey = np.nan_to_num(np.asarray(image, dtype=np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    if image.mode == "F":
        low, high = float(grey.min()), float(grey.max())
    else:
        low, high = 0.0, _SIXTEEN_BIT if grey.max() > 255 else 255.0
    scaled = (grey - low) * (255.0 / max(high - low, 1e-12))
    return Image.fromarray(np.clip(np.rint(scaled), 0, 255).astype(np.uint8))
