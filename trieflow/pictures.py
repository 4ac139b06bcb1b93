"""Pictures small enough to travel inside an event."""

from __future__ import annotations

import io

from streams.errors import DataError

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
"""What `trieflow publish` takes for a picture in a folder."""

_MAX_PIXELS = 50_000_000
_SIDES = (1_024, 768, 512, 384, 256, 128, 64)
_QUALITY = 88


def fitted(content: bytes, limit: int) -> bytes:
    """Return the picture in at most `limit` bytes: as it is, else smaller and as WebP.

    Raises DataError: `undecodable_image`, `image_too_large` (pixels, or nothing fits).
    """
    if len(content) <= limit:
        return content
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with Image.open(io.BytesIO(content)) as opened:
            if opened.width * opened.height > _MAX_PIXELS:
                size = f"{opened.width} x {opened.height}"
                raise DataError("image_too_large", f"{size} pixels; at most {_MAX_PIXELS:,} are read")
            opened.draft("RGB", (_SIDES[0], _SIDES[0]))  # a large JPEG is decoded at a fraction of its size
            picture = ImageOps.exif_transpose(opened).convert("RGBA" if _is_transparent(opened) else "RGB")
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError("undecodable_image", f"cannot be read as a picture: {error}") from error
    for side in _SIDES:
        picture.thumbnail((side, side), Image.Resampling.LANCZOS)
        packed = io.BytesIO()
        picture.save(packed, "WEBP", quality=_QUALITY)
        if packed.tell() <= limit:
            return packed.getvalue()
    raise DataError("image_too_large", f"does not fit into {limit} bytes, even {_SIDES[-1]} pixels wide")


def _is_transparent(picture: object) -> bool:
    return getattr(picture, "mode", "") in ("RGBA", "LA", "PA") or "transparency" in getattr(
        picture, "info", {}
    )
