"""Image and id-map files to arrays: the one decoder behind training, evaluation and prediction.

A file means the same image everywhere in the package: turned upright by its EXIF tag, transparent parts
over white, three 8-bit channels. Files that cannot be read are refused by name, and so are files whose header
asks for more memory than an image should, before a pixel is decoded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from detr_hf.errors import UserError
from detr_hf.files import whole_file
from detr_hf.foreign_files import open_file, read_bytes
from detr_hf.geometry import rgb_to_id

ImageSource = str | Path | bytes | Mapping[str, Any]
"""A path, a file's bytes, or ``{"path": ..., "bytes": ...}`` as ``datasets`` stores an undecoded image."""

MAX_PIXELS = 150_000_000
"""Largest width x height that is decoded (450 MB of RGB); Pillow itself refuses from 179 Mpx on."""

MAX_FILE_BYTES = 2_000_000_000
"""Largest image file that is read."""

DARK_SHARE = 1 / 8
"""Share of the 16-bit range below which a 16-bit image looks black once it is scaled to 8 bits."""

# Formats of images only: Pillow's EPS reader, for one, would start Ghostscript on a file it is given.
_FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "TIFF", "BMP", "GIF", "PPM", "JPEG2000", "AVIF", "HEIF")
_UPRIGHT = {  # EXIF orientation -> what turns the stored image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = (5, 6, 7, 8)
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_TEXT_MARKS = (b"Raw profile type exif", b"XML:com.adobe.xmp")
_TEXT_CHUNKS = (b"tEXt", b"zTXt", b"iTXt")
_PNG_ORIENTATION_MARKS = (b"eXIf", *(kind + mark for kind in _TEXT_CHUNKS for mark in _TEXT_MARKS))
_LONGEST_MARK = max(map(len, _TEXT_MARKS))
_WHITE = (255, 255, 255, 255)


def save_image(image: Image.Image, path: Path, **options: Any) -> None:
    """Write an image whole, in the format of the ending of its name; ``options`` are Pillow's.

    Raises:
        UserError: it cannot be written; what was there before still is. Or the ending is of no format.
    """
    kind = Image.registered_extensions().get(path.suffix.lower())
    if kind is None:
        raise UserError(f"{path}: no image format ends in '{path.suffix}'; write .jpg or .png at the end.")
    with whole_file(path) as partial:
        image.save(partial, kind, **options)


def decode_image(source: ImageSource, name: str | None = None) -> np.ndarray:
    """Decode one image to RGB.

    Args:
        source: path, bytes, or a mapping with either; see ``ImageSource``.
        name: what to call the image in messages; the path when left out.

    Returns:
        uint8[H, W, 3], writable, upright (EXIF orientation applied). Gray is repeated over the channels;
        16-bit gray is scaled from 0..65535 to 0..255; transparency is laid over white; CMYK is converted
        without its color profile. Of an animation, the first frame.

    Raises:
        UserError: the file is missing or no regular file, no image, damaged, of a sample type without a fixed
            range (float, 32 bit), or larger than ``MAX_PIXELS``.
    """
    name = name or _name_of(source)
    with _opened(source, name) as image:
        return rgb_of(image, name)


def rgb_of(image: Image.Image, name: str = "the image") -> np.ndarray:
    """An opened image as ``decode_image`` returns it: the same pixels as of its file.

    Raises:
        UserError: it is damaged, or its samples have no fixed range.
    """
    _load(image, name)
    turn = _UPRIGHT.get(_orientation(image))
    return np.array(_to_rgb(image if turn is None else image.transpose(turn), name), dtype=np.uint8)


@dataclass(frozen=True)
class ImageFacts:
    """What a file is, apart from what it shows.

    Attributes:
        size_hw: height and width in pixels of what ``decode_image`` returns.
        orientation: by EXIF, 1 to 8; 1 is upright as it is stored.
        mode: Pillow's name of the stored pixels ("RGB", "L"), or "transparent".
        is_dark: whether its 16-bit samples use less than ``DARK_SHARE`` of their range.
        sha256: of the file, hex; empty where pixels were not asked for.
        pixels: what ``decode_image`` returns; None where they were not asked for.
    """

    size_hw: tuple[int, int]
    orientation: int
    mode: str
    is_dark: bool = False
    sha256: str = ""
    pixels: np.ndarray | None = None

    def without_pixels(self) -> ImageFacts:
        """The same, small."""
        return replace(self, pixels=None)


def look_at_image(source: ImageSource, name: str | None = None, decode: bool = True) -> ImageFacts:
    """Open an image once, for all that is to be known of it.

    Raises:
        UserError: as ``decode_image``; without ``decode``, damage behind the header goes unseen.
    """
    name = name or _name_of(source)
    content = _content(source, name)
    if decode and isinstance(content, Path):
        content = read_bytes(content, MAX_FILE_BYTES, "image file", name)
    with _opened(content, name) as image:
        mode = "transparent" if image.has_transparency_data else image.mode
        can_be_turned = image.format != "PNG" or _png_may_be_turned(image)
        # TIFF is turned by Pillow while loading; a PNG may carry its tag behind the pixels.
        if decode or (can_be_turned and image.format in ("TIFF", "PNG")):
            _load(image, name)
        orientation = _orientation(image) if can_be_turned else 1
        orientation = orientation if orientation in range(1, 9) else 1
        size_hw = (image.height, image.width)
        if not decode:
            return ImageFacts(size_hw[::-1] if orientation in _SIDEWAYS else size_hw, orientation, mode)
        assert isinstance(content, bytes)
        turn = _UPRIGHT.get(orientation)
        upright = image if turn is None else image.transpose(turn)
        pixels = np.array(_to_rgb(upright, name), dtype=np.uint8)
        is_dark = mode.startswith("I") and int(pixels.max(initial=0)) < 255 * DARK_SHARE
        return ImageFacts(pixels.shape[:2], orientation, mode, is_dark, sha256(content).hexdigest(), pixels)


def image_size(source: ImageSource, name: str | None = None) -> tuple[int, int]:
    """(height, width) in pixels of what ``decode_image`` returns, from the header where the format allows.

    Raises:
        UserError: as ``decode_image``, except that damage behind the header goes unseen.
    """
    return look_at_image(source, name, decode=False).size_hw


def image_suffix(source: ImageSource, name: str | None = None) -> str:
    """The usual suffix of names of such files: ".jpg".

    Raises:
        UserError: as ``decode_image``, but for what is wrong behind the header.
    """
    with _opened(source, name or _name_of(source)) as image:
        kind = str(image.format).lower()
    return {"jpeg": ".jpg", "mpo": ".jpg", "jpeg2000": ".jp2", "tiff": ".tif"}.get(kind, f".{kind}")


def decode_id_map(source: ImageSource, name: str | None = None) -> np.ndarray:
    """Decode a COCO panoptic PNG, where a segment's id is R + 256 G + 65536 B and 0 is void.

    Returns:
        int32[H, W] of segment ids, not turned by EXIF: an id map is read as it was written.

    Raises:
        UserError: as ``decode_image``, or the file is not an 8-bit RGB PNG. Any other kind (JPEG, palette,
            alpha, 16 bit) has lost ids or never held them.
    """
    name = name or _name_of(source)
    with _opened(source, name) as image:
        kind = _sample_kind(image)
        if image.format != "PNG" or kind != "RGB":
            raise UserError(
                f"{name}: a panoptic id map must be an 8-bit RGB PNG (id = R + 256 G + 65536 B), "
                f"but this is {image.format} with {kind} pixels; write it again in that form"
            )
        _load(image, name)
        return rgb_to_id(np.array(image, dtype=np.uint8))


def decode_labels(source: ImageSource, name: str | None = None, colors: bool = False) -> np.ndarray:
    """Decode a PNG whose pixels stand for classes or objects, by number or by color.

    Args:
        source, name: as for ``decode_image``.
        colors: take a palette's colors instead of the numbers of its entries.

    Returns:
        numbers [H, W] of palette entries or gray values, unsigned, as they are stored; or colors
        uint8[H, W, 3]. Not turned by EXIF.

    Raises:
        UserError: as ``decode_image``, or it is no PNG: other formats change values.
    """
    name = name or _name_of(source)
    with _opened(source, name) as image:
        if image.format != "PNG":
            raise UserError(
                f"{name}: must be a PNG, this is {image.format}, which may have changed its values"
            )
        _load(image, name)
        if image.mode in ("1", "L", "I", "I;16") or (image.mode == "P" and not colors):
            return np.asarray(image).astype(np.uint16)
        return np.array(image.convert("RGB"), dtype=np.uint8)


def _name_of(source: ImageSource) -> str:
    if isinstance(source, Mapping):
        return str(source.get("path") or "image given as bytes")
    return "image given as bytes" if isinstance(source, bytes) else str(source)


def _content(source: ImageSource, name: str) -> Path | bytes:
    """The bytes if they are at hand, else the path to read."""
    if isinstance(source, Mapping):
        if source.get("bytes") is not None:
            return source["bytes"]
        if not source.get("path"):
            raise UserError(f"{name}: neither a path nor bytes are given for this image")
        return Path(source["path"])
    return Path(source) if isinstance(source, str) else source


@contextmanager
def _opened(source: ImageSource, name: str) -> Iterator[ImageFile.ImageFile]:
    """Open the image and read its header, refusing what is no image or too large."""
    content = _content(source, name)
    with BytesIO(content) if isinstance(content, bytes) else open_file(content, "image file", name) as file:
        try:
            image = Image.open(file, formats=_known_formats())
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise UserError(f"{name}: refused, the image is too large to decode: {error}") from error
        except UnidentifiedImageError as error:
            raise UserError(f"{name}: {_not_an_image(file)}") from error
        except Exception as error:  # a damaged header makes format readers raise almost anything
            raise UserError(f"{name}: the image is damaged or cut off: {error}") from error
        with image:
            _refuse_bomb(image, name)
            yield image


def _known_formats() -> list[str]:
    """Our formats that this Pillow can read; a registered HEIF plugin counts."""
    Image.init()
    return [name for name in _FORMATS if name in Image.OPEN]


def _not_an_image(file: BinaryIO) -> str:
    file.seek(0)
    head = file.read(12)
    if not head:
        return "the file is empty"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1"):
        return "HEIC images cannot be read; save them as JPEG or PNG first"
    return "this is not an image that can be read (JPEG, PNG, WebP, TIFF, BMP, GIF, PPM, JPEG 2000, AVIF)"


def _refuse_bomb(image: Image.Image, name: str) -> None:
    pixels = image.width * image.height
    if pixels > MAX_PIXELS:
        raise UserError(
            f"{name}: refused, {image.width} x {image.height} is {pixels / 1e6:.0f} Mpx and the limit is "
            f"{MAX_PIXELS / 1e6:.0f} Mpx; scale the image down or cut it up first"
        )


def _load(image: Image.Image, name: str) -> None:
    try:
        image.load()
    except Exception as error:  # as above: what a decoder raises on damaged data depends on the format
        raise UserError(f"{name}: the image is damaged or cut off: {error}") from error


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; upright where the EXIF block is broken, as viewers show such a file."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except (SyntaxError, ValueError, TypeError, LookupError, OSError, EOFError, struct.error):
        return 1


def _png_may_be_turned(image: ImageFile.ImageFile) -> bool:
    """Whether a PNG, not yet loaded, has any chunk that can carry an orientation; decodes nothing."""
    file = image.fp
    assert file is not None
    back, at = file.tell(), len(_PNG_SIGNATURE)
    try:
        while file.seek(at) == at and len(head := file.read(8 + _LONGEST_MARK)) >= 8:
            if head[4:].startswith(_PNG_ORIENTATION_MARKS):
                return True
            at += 12 + int.from_bytes(head[:4], "big")  # length, type, content, checksum
        return False
    finally:
        file.seek(back)


def _sample_kind(image: ImageFile.ImageFile) -> str:
    """The sample layout as stored: Pillow reports a 16-bit RGB file as mode RGB and keeps its high bytes."""
    raw = image.tile[0][3] if image.tile else image.mode
    raw = raw[0] if isinstance(raw, tuple) else raw
    return str(raw or image.mode)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _from_16_bit(image, name)
    if image.mode == "F":
        raise UserError(
            f"{name}: pixels are 32-bit floats, whose range is unknown; save it with 8 bits a channel"
        )
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, _WHITE), rgba).convert("RGB")
    return image.convert("RGB")


def _from_16_bit(image: Image.Image, name: str) -> Image.Image:
    """Scale 0..65535 to 0..255 (Pillow's own conversion clips at 255, which turns images white)."""
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > 65535:
        raise UserError(f"{name}: pixels are 32-bit integers beyond 65535; save it with 8 bits a channel")
    gray = ((samples + 128) // 257).astype(np.uint8)
    return Image.fromarray(np.repeat(gray[..., None], 3, axis=2))
