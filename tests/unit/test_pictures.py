"""Untrusted bytes become upright RGB or a data error with the right code, and nothing else."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.pictures import FORMATS, PictureLimits, decode_picture, thumbnail
from streams.errors import DataError
from tests.pictures import png_of, saved, two_halves

LIMITS = PictureLimits()
RED, WHITE = (255, 0, 0), (255, 255, 255)


def code_of(data: bytes, limits: PictureLimits = LIMITS) -> str:
    with pytest.raises(DataError) as caught:
        decode_picture(data, limits=limits)
    return caught.value.code


def close(pixel: object, expected: tuple[int, int, int], tolerance: int = 6) -> bool:
    return bool(np.abs(np.array(pixel, dtype=int) - np.array(expected)).max() <= tolerance)


@pytest.mark.parametrize("format", FORMATS)
def test_every_allowed_format_is_decoded(format: str) -> None:
    picture = decode_picture(saved(two_halves(), format), limits=LIMITS)
    assert picture.mode == "RGB"
    assert picture.size == (40, 20)
    assert close(picture.getpixel((3, 10)), RED, 12)
    assert close(picture.getpixel((36, 10)), WHITE, 12)


@pytest.mark.parametrize(
    "data",
    [
        b"<svg xmlns='http://www.w3.org/2000/svg'/>",
        b"<?xml version='1.0'?><!-- drawn --><SVG/>",
        b"%PDF-1.7",
        b"8BPS\0\1",
        b"\0\0\0\x20ftypavif",
        b"\0\0\0\x0cJXL \r\n",
        b"\0\0\1\0\1\0",
    ],
)
def test_other_formats_are_named_as_unsupported(data: bytes) -> None:
    assert code_of(data + b" " * 64) == "unsupported_format"


def test_a_format_that_the_library_knows_but_the_list_does_not_is_refused() -> None:
    assert code_of(saved(two_halves(), "TGA")) == "undecodable_image"
    assert code_of(saved(two_halves(), "ICO", sizes=[(16, 16)])) == "unsupported_format"


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"\xff\xd8\xff", b"GIF89a", b"RIFF\0\0\0\0WEBP", b"BM", b"\0" * 100]
)
def test_bytes_that_are_no_picture_are_undecodable(data: bytes) -> None:
    assert code_of(data) == "undecodable_image"


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "BMP", "TIFF"])
def test_a_truncated_picture_is_undecodable(format: str) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    data = saved(Image.fromarray(noise), format)
    assert code_of(data[: len(data) // 2]) == "undecodable_image"


def test_a_decompression_bomb_is_refused_by_its_header() -> None:
    assert code_of(png_of(60_000, 60_000, pixels=b"")) == "image_too_large"
    assert code_of(png_of(10_000, 10_000, pixels=b"")) == "image_too_large"


def test_the_pixel_limit_is_exact() -> None:
    data = saved(two_halves(size=(40, 20)), "PNG")
    assert decode_picture(data, limits=PictureLimits(max_pixels=800)).size == (40, 20)
    assert code_of(data, PictureLimits(max_pixels=799)) == "image_too_large"


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_of_an_animation_the_first_frame_is_taken(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("blue", "green")]
    data = saved(Image.new("RGB", (8, 8), "red"), format, save_all=True, append_images=frames)
    assert close(decode_picture(data, limits=LIMITS).getpixel((4, 4)), RED, 12)


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "TIFF"])
def test_an_animation_over_the_frame_limit_is_refused(format: str) -> None:
    frames = [Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (50, 100, 150)]
    data = saved(two_halves(size=(8, 8)), format, save_all=True, append_images=frames)
    assert code_of(data, PictureLimits(max_frames=3)) == "image_too_large"
    assert decode_picture(data, limits=PictureLimits(max_frames=4)).size == (8, 8)


@pytest.mark.parametrize(
    ("orientation", "red_at"), [(1, (3, 10)), (2, (36, 10)), (3, (36, 10)), (6, (10, 3)), (8, (10, 36))]
)
def test_exif_orientation_is_applied(orientation: int, red_at: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture = decode_picture(saved(two_halves(), "JPEG", exif=exif.tobytes()), limits=LIMITS)
    assert picture.size == ((20, 40) if orientation in (6, 8) else (40, 20))
    assert close(picture.getpixel(red_at), RED, 12)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_is_no_reason_to_refuse() -> None:
    data = saved(two_halves(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 40)
    assert decode_picture(data, limits=LIMITS).size == (40, 20)


def test_cmyk_keeps_its_colours() -> None:
    picture = decode_picture(saved(two_halves("CMYK"), "JPEG"), limits=LIMITS)
    assert picture.mode == "RGB"
    assert close(picture.getpixel((3, 10)), RED, 12)


def test_transparency_becomes_white_in_every_mode() -> None:
    layer = Image.new("RGBA", (10, 10), (0, 0, 0, 0))
    palette = Image.new("P", (10, 10), 0)
    palette.putpalette([0, 0, 0, 255, 0, 0])
    grey = Image.new("LA", (10, 10), (0, 0))
    for data in (saved(layer, "PNG"), saved(grey, "PNG"), saved(palette, "PNG", transparency=0)):
        assert decode_picture(data, limits=LIMITS).getpixel((5, 5)) == WHITE


def test_half_transparency_is_mixed_with_white() -> None:
    data = saved(Image.new("RGBA", (4, 4), (255, 0, 0, 128)), "PNG")
    assert close(decode_picture(data, limits=LIMITS).getpixel((2, 2)), (255, 127, 127), 2)


def test_sixteen_bit_grey_keeps_its_brightness() -> None:
    values = np.array([[0, 32_768, 65_535]], dtype=np.uint16)
    for format in ("PNG", "TIFF"):
        picture = decode_picture(saved(Image.fromarray(values), format), limits=LIMITS)
        assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_float_grey_spans_black_to_white() -> None:
    values = np.array([[-1.0, 0.0, 1.0, np.nan]], dtype=np.float32)
    picture = decode_picture(saved(Image.fromarray(values), "TIFF"), limits=LIMITS)
    assert [picture.getpixel((x, 0))[0] for x in range(3)] == [0, 128, 255]


def test_one_bit_and_palette_pictures_are_decoded() -> None:
    for mode in ("1", "P", "L"):
        assert decode_picture(saved(two_halves(mode), "PNG"), limits=LIMITS).mode == "RGB"


def test_a_large_jpeg_is_decoded_smaller_but_of_the_same_shape() -> None:
    picture = decode_picture(saved(two_halves(size=(4_400, 2_200)), "JPEG"), limits=LIMITS)
    assert picture.size == (2_200, 1_100)


def test_a_thumbnail_is_a_small_webp_of_the_same_shape() -> None:
    data = thumbnail(two_halves(size=(1_000, 500)))
    small = Image.open(io.BytesIO(data))
    assert (small.format, small.size) == ("WEBP", (256, 128))
    assert thumbnail(two_halves(size=(1_000, 500))) == data


def test_a_thumbnail_of_a_small_or_thin_picture_is_still_a_picture() -> None:
    assert Image.open(io.BytesIO(thumbnail(two_halves(size=(40, 20))))).size == (40, 20)
    assert Image.open(io.BytesIO(thumbnail(Image.new("RGB", (5_000, 2))))).size == (256, 1)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(FORMATS), st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=12)
)
def test_damaged_bytes_give_a_picture_or_a_data_error(format: str, damage: list[tuple[int, int]]) -> None:
    data = bytearray(saved(two_halves(), format))
    for position, value in damage:
        data[position % len(data)] = value
    assert _outcome(bytes(data)) in {"RGB", "undecodable_image", "image_too_large", "unsupported_format"}


def _outcome(data: bytes) -> str:
    try:
        return decode_picture(data, limits=PictureLimits(max_pixels=1_000_000)).mode
    except DataError as error:
        return error.code
