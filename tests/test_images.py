"""Every kind of picture file comes out as upright RGB, and every bad one is refused by name."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import ExifTags, Image

from detr_hf import images
from detr_hf.errors import UserError
from detr_hf.geometry import id_to_rgb
from detr_hf.images import decode_id_map, decode_image, decode_labels, image_size


def encoded(image: Image.Image, format: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def with_orientation(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    return exif


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def corner_scene(height: int = 16, width: int = 32) -> np.ndarray:
    """Black, with a white block in the upper left corner."""
    scene = np.zeros((height, width, 3), np.uint8)
    scene[:8, :8] = 255
    return scene


@pytest.mark.parametrize("as_source", ["path", "str", "bytes", "mapping of bytes", "mapping of path"])
def test_every_form_of_source_gives_the_same_writable_array(tmp_path: Path, as_source: str) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    path = tmp_path / "a.png"
    path.write_bytes(encoded(Image.fromarray(pixels)))
    source = {
        "path": path,
        "str": str(path),
        "bytes": path.read_bytes(),
        "mapping of bytes": {"path": None, "bytes": path.read_bytes()},
        "mapping of path": {"path": str(path), "bytes": None},
    }[as_source]
    decoded = decode_image(source)
    np.testing.assert_array_equal(decoded, pixels)
    assert decoded.dtype == np.uint8
    assert decoded.flags.writeable
    assert image_size(source) == (5, 7)


def test_embedded_bytes_win_over_a_path_that_is_gone() -> None:
    source = {"path": "gone.png", "bytes": encoded(Image.new("RGB", (3, 2), (1, 2, 3)))}
    assert decode_image(source)[0, 0].tolist() == [1, 2, 3]


# What each stored mode must show: alpha 0 over white is white, alpha 51/255 of black over white is 204.
MODES = {
    "bilevel": (Image.new("1", (4, 3), 1), "PNG", [255, 255, 255]),
    "gray": (Image.new("L", (4, 3), 77), "PNG", [77, 77, 77]),
    "gray jpeg": (Image.new("L", (4, 3), 77), "JPEG", [77, 77, 77]),
    "gray 16 bit": (Image.fromarray(np.full((3, 4), 257 * 200, np.uint16)), "PNG", [200, 200, 200]),
    "gray 16 bit tiff": (Image.fromarray(np.full((3, 4), 257 * 9 + 128, np.uint16)), "TIFF", [9, 9, 9]),
    "gray 32 bit within 16": (Image.fromarray(np.full((3, 4), 65535, np.int32)), "TIFF", [255, 255, 255]),
    "gray and alpha": (Image.new("LA", (4, 3), (0, 51)), "PNG", [204, 204, 204]),
    "palette": (Image.new("P", (4, 3), 1), "PNG", [10, 20, 30]),
    "rgba clear": (Image.new("RGBA", (4, 3), (10, 20, 30, 0)), "PNG", [255, 255, 255]),
    "rgba part": (Image.new("RGBA", (4, 3), (0, 0, 0, 51)), "PNG", [204, 204, 204]),
    "rgba solid webp": (Image.new("RGBA", (4, 3), (255, 255, 255, 255)), "WEBP", [255, 255, 255]),
    "cmyk": (Image.new("CMYK", (4, 3), (255, 0, 0, 0)), "TIFF", [0, 255, 255]),
    "cmyk jpeg": (Image.new("CMYK", (8, 8), (0, 0, 0, 255)), "JPEG", [0, 0, 0]),
}
MODES["palette"][0].putpalette([0, 0, 0, 10, 20, 30])


@pytest.mark.parametrize("case", MODES)
def test_mode_is_converted_to_rgb(case: str) -> None:
    """Guards: gray, palette and other pictures, on which stock preprocessing fails or guesses."""
    image, format, expected = MODES[case]
    decoded = decode_image(encoded(image, format))
    assert decoded.shape == (image.height, image.width, 3)
    np.testing.assert_allclose(decoded.reshape(-1, 3), [expected] * image.width * image.height, atol=1)


def test_transparent_palette_entry_is_laid_over_white() -> None:
    image = Image.new("P", (2, 1), 0)
    image.putpalette([0, 0, 200, 0, 150, 0])
    image.putpixel((1, 0), 1)
    decoded = decode_image(encoded(image, transparency=0))
    assert decoded.tolist() == [[[255, 255, 255], [0, 150, 0]]]


def test_transparent_color_of_an_rgb_png_is_laid_over_white() -> None:
    image = Image.fromarray(np.array([[[9, 9, 9], [8, 8, 8]]], np.uint8))
    assert decode_image(encoded(image, transparency=(9, 9, 9))).tolist() == [[[255] * 3, [8] * 3]]


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (4, 4), color) for color in ((255, 0, 0), (0, 0, 255))]
    assert decode_image(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))[
        0, 0
    ].tolist() == [255, 0, 0]


# The white block is stored upper left; after turning it must touch this corner (row, column).
BLOCK_AT = {1: (0, 0), 2: (0, -1), 3: (-1, -1), 4: (-1, 0), 5: (0, 0), 6: (0, -1), 7: (-1, -1), 8: (-1, 0)}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", BLOCK_AT)
def test_exif_orientation_is_applied_and_the_size_agrees(orientation: int, format: str) -> None:
    """Guards: photographs that lie on their side, for want of reading their EXIF tag."""
    data = encoded(Image.fromarray(corner_scene()), format, exif=with_orientation(orientation))
    decoded = decode_image(data)
    assert decoded.shape == ((32, 16, 3) if orientation >= 5 else (16, 32, 3))
    row, column = BLOCK_AT[orientation]
    assert decoded[row, column].min() > 200
    assert [decoded[r, c].max() < 60 for r in (0, -1) for c in (0, -1)].count(True) == 3
    assert image_size(data) == decoded.shape[:2]


def test_orientation_behind_the_pixels_of_a_png_is_seen() -> None:
    plain = encoded(Image.fromarray(corner_scene()))
    end = plain.index(b"IEND") - 4
    tag = with_orientation(6).tobytes().removeprefix(b"Exif\0\0")
    data = plain[:end] + png_chunk(b"eXIf", tag) + plain[end:]
    assert decode_image(data).shape == (32, 16, 3)
    assert image_size(data) == (32, 16)


def test_broken_exif_block_leaves_the_picture_as_stored() -> None:
    data = encoded(Image.fromarray(corner_scene()), "JPEG", exif=b"Exif\0\0garbage that is no TIFF header")
    assert decode_image(data).shape == (16, 32, 3)
    assert image_size(data) == (16, 32)


def test_size_is_read_without_decoding_the_pixels(monkeypatch: pytest.MonkeyPatch) -> None:
    sources = [encoded(Image.new("RGB", (6, 4)), format) for format in ("JPEG", "PNG")]
    monkeypatch.setattr(images, "_load", lambda *_: pytest.fail("the pixels were decoded"))
    assert [image_size(source) for source in sources] == [(4, 6), (4, 6)]


def _bad_files() -> dict[str, tuple[bytes, str]]:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    jpeg, png = encoded(noise, "JPEG"), encoded(noise)
    return {
        "empty": (b"", "empty"),
        "text": (b"these are words, not pixels", "not an image"),
        "truncated jpeg": (jpeg[: len(jpeg) // 2], "damaged or cut off"),
        "truncated png": (png[: len(png) // 2], "damaged or cut off"),
        "corrupted png": (png[:100] + bytes(50) + png[150:], "damaged or cut off"),
        "heic": (b"\0\0\0\x18ftypheic" + bytes(40), "HEIC"),
        "float": (encoded(Image.fromarray(np.zeros((4, 4), np.float32)), "TIFF"), "32-bit floats"),
        "wide integers": (encoded(Image.fromarray(np.full((4, 4), 70000, np.int32)), "TIFF"), "beyond 65535"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "not an image"),
    }


@pytest.mark.parametrize("case", _bad_files())
def test_bad_file_is_refused_by_name(tmp_path: Path, case: str) -> None:
    data, words = _bad_files()[case]
    path = tmp_path / "yard_07.jpg"
    path.write_bytes(data)
    for source, name in ((path, None), (data, "yard_07.jpg")):
        with pytest.raises(UserError, match=words) as caught:
            decode_image(source, name)
        assert "yard_07.jpg" in str(caught.value)


def test_missing_file_folder_and_empty_mapping(tmp_path: Path) -> None:
    for call in (decode_image, image_size, decode_id_map):
        with pytest.raises(UserError, match=r"gone\.jpg: there is no such image"):
            call(tmp_path / "gone.jpg")
        with pytest.raises(UserError, match="cannot be read"):
            call(tmp_path)
        with pytest.raises(UserError, match="neither a path nor bytes"):
            call({"path": None, "bytes": None})


def _png_that_claims(width: int, height: int) -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return (
        b"\x89PNG\r\n\x1a\n"
        + header
        + png_chunk(b"IDAT", zlib.compress(bytes(100)))
        + png_chunk(b"IEND", b"")
    )


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [12_500, 60_000])
def test_decompression_bomb_is_refused_from_the_header(side: int) -> None:
    """12500 x 12500 is beyond our limit and within Pillow's, 60000 x 60000 beyond both."""
    for call in (decode_image, image_size, decode_id_map):
        with pytest.raises(UserError, match="refused"):
            call(_png_that_claims(side, side), "bomb.png")


def test_pillow_settings_are_left_alone() -> None:
    from PIL import ImageFile

    before = (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)
    decode_image(encoded(Image.new("RGB", (3, 2))))
    assert before == (Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES)


def test_id_map_round_trip(tmp_path: Path) -> None:
    ids = np.array([[0, 1, 255], [256, 65536, 256**3 - 1]], np.int32)
    path = tmp_path / "a.png"
    Image.fromarray(id_to_rgb(ids)).save(path)
    decoded = decode_id_map(path)
    assert decoded.dtype == np.int32
    np.testing.assert_array_equal(decoded, ids)


def _png_16_bit_rgb() -> bytes:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    row = b"\0" + struct.pack(">6H", *range(0, 60000, 10000))
    return b"\x89PNG\r\n\x1a\n" + header + png_chunk(b"IDAT", zlib.compress(row)) + png_chunk(b"IEND", b"")


@pytest.mark.parametrize("kind", ["jpeg", "palette", "gray", "rgba", "16 bit"])
def test_id_map_of_another_kind_is_refused(kind: str) -> None:
    """Guards: Pillow opens a 16-bit RGB PNG as mode RGB without a word, with other ids in it."""
    data = {
        "jpeg": encoded(Image.new("RGB", (8, 8)), "JPEG"),
        "palette": encoded(Image.new("P", (8, 8))),
        "gray": encoded(Image.new("L", (8, 8))),
        "rgba": encoded(Image.new("RGBA", (8, 8))),
        "16 bit": _png_16_bit_rgb(),
    }[kind]
    with pytest.raises(UserError, match=r"map\.png: a panoptic id map must be an 8-bit RGB PNG"):
        decode_id_map(data, "map.png")


def test_labels_are_numbers_or_colors_as_they_are_stored() -> None:
    numbers = np.array([[0, 1], [2, 255]], np.uint8)
    palette = Image.fromarray(numbers)
    palette.putpalette([value for number in range(256) for value in (number, 7, 9)])
    assert decode_labels(encoded(palette)).tolist() == numbers.tolist()
    assert decode_labels(encoded(Image.fromarray(numbers)), colors=True).tolist() == numbers.tolist()
    colors = np.stack([numbers, np.full((2, 2), 7), np.full((2, 2), 9)], -1).tolist()
    assert decode_labels(encoded(palette), colors=True).tolist() == colors
    assert decode_labels(encoded(palette.convert("RGB"))).tolist() == colors
    wide = Image.fromarray(np.array([[300, 65535]], np.uint16))
    assert decode_labels(encoded(wide)).tolist() == [[300, 65535]]
    with pytest.raises(UserError, match="must be a PNG"):
        decode_labels(encoded(palette.convert("RGB"), "JPEG"))


@pytest.mark.parametrize("kind", [b"eXIf", b"zTXtRaw profile type exif", b"iTXtXML:com.adobe.xmp"])
def test_a_png_is_decoded_for_its_size_only_where_a_chunk_may_turn_it(
    kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same words inside another chunk turn nothing."""
    plain = encoded(Image.fromarray(corner_scene()))
    end = plain.index(b"IEND") - 4
    loads: list[str] = []
    monkeypatch.setattr(images, "_load", lambda _, name: loads.append(name))
    monkeypatch.setattr(images, "_orientation", lambda _: 6)
    marked = plain[:end] + png_chunk(kind[:4], kind[4:] + b"\0") + plain[end:]
    assert image_size(marked, "marked") == (32, 16)
    quoted = plain[:end] + png_chunk(b"tEXt", b"Comment\0" + kind) + plain[end:]
    assert image_size(quoted, "quoted") == (16, 32)
    assert loads == ["marked"]
