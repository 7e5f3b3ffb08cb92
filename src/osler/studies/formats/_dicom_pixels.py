"""Pixels of a DICOM data set: decompression, sign, photometric interpretation. Values stay stored values.

Whatever pydicom plug-ins happen to be installed, every machine gives the same pixels: compressed frames go through
imagecodecs in worker processes (``_dicom_codec``), which reads the 12-bit and retired processes that others refuse.
Uncompressed data go through pydicom.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import Unsuitable
from osler.studies.formats._dicom_codec import Frame, decode_frame
from osler.studies.geometry import Array

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["codec_of", "decode", "with_sign"]

_IMPLICIT = "1.2.840.10008.1.2"  # what a file without a preamble is
_PLAIN = (_IMPLICIT, "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99")
_JPEG = "1.2.840.10008.1.2.4."
_CODECS = {
    "1.2.840.10008.1.2.5": "rle",
    "1.2.840.10008.1.2.8.1": "deflate",
    **dict.fromkeys((f"{_JPEG}{n}" for n in (80, 81)), "jpegls"),
    **dict.fromkeys((f"{_JPEG}{n}" for n in (90, 91, 201, 202, 203)), "jpeg2k"),
    **dict.fromkeys((f"{_JPEG}{n}" for n in (110, 111, 112)), "jpegxl"),
    # Processes 1 to 29 with their hierarchical and progressive relatives, most of them retired.
    **dict.fromkeys((f"{_JPEG}{n}" for n in range(50, 67)), "jpeg"),
    f"{_JPEG}70": "jpeg",
}
_KEEPS_COLOURS = ("jpegls", "jpeg2k", "rle", "deflate")  # codecs that hold the colour space of the header as it is
_THREADS = 4


def decode(data: Dataset, frames: Sequence[int] | None = None) -> Array:
    """Stored values.

    Args:
        data: a data set with pixels.
        frames: which ones, 0-based; None takes all.

    Returns:
        (frames, rows, columns) grey in the stored dtype, or (frames, rows, columns, 3) RGB.

    Raises:
        ValueError: pixels that are missing, cut off, or of another size than the header says.
        Unsuitable: a transfer syntax that is no image format, such as video.
    """
    syntax = str(data.file_meta.get("TransferSyntaxUID", "") or _IMPLICIT) if hasattr(data, "file_meta") else _IMPLICIT
    chosen = list(range(_count(data))) if frames is None else list(frames)
    stored, photometric = _compressed(data, syntax, chosen) if syntax in _CODECS else _plain(data, syntax, chosen)
    expected = (len(chosen), int(data.Rows), int(data.Columns))
    if stored.shape[:3] != expected:
        raise ValueError(f"the pixels have shape {stored.shape[:3]} and the header says {expected}")
    if photometric == "PALETTE COLOR":
        return _through_palette(stored, data)
    if stored.ndim == 4:
        return _eight_bits(stored, data)
    return with_sign(stored, int(data.BitsStored), int(data.PixelRepresentation) == 1)


def codec_of(syntax: str) -> str:
    """How frames of a transfer syntax are compressed (a ``kind`` of ``_dicom_codec.Frame``); "" when they are not."""
    return _CODECS.get(syntax, "")


def with_sign(stored: Array, bits: int, signed: bool) -> Array:
    """Keep the ``bits`` low bits (others may hold overlays) and read them as signed where the header says so."""
    if stored.dtype.kind == "f":
        return stored
    width = stored.dtype.itemsize * 8
    if not 0 < bits <= width:
        raise ValueError(f"BitsStored is {bits} in values of {width} bits")
    if signed:
        values = stored.view(np.dtype(f"i{stored.dtype.itemsize}"))
        # Shifting up and back down copies the sign bit of the stored value into the unused bits.
        return values if bits == width else (values << (width - bits)) >> (width - bits)
    unsigned = stored.view(np.dtype(f"u{stored.dtype.itemsize}"))
    return unsigned if bits == width else unsigned & unsigned.dtype.type((1 << bits) - 1)


def _count(data: Any) -> int:
    return max(int(data.get("NumberOfFrames", 1) or 1), 1)


def _plain(data: Dataset, syntax: str, chosen: Sequence[int]) -> tuple[Array, str]:
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.uid import UID

    if syntax not in _PLAIN:
        raise Unsuitable(
            f"{getattr(data, 'filename', None) or 'the file'} is stored as {UID(syntax).name}, and Osler reads no such",
            remedy="export it uncompressed or as JPEG 2000",
        )
    if not any(keyword in data for keyword in ("PixelData", "FloatPixelData", "DoublePixelData")):
        raise ValueError("it has no pixel data")
    stored, meta = get_decoder(syntax).as_array(data, decoding_plugin="")
    shape = (int(data.Rows), int(data.Columns), *([3] if int(data.get("SamplesPerPixel", 1)) == 3 else []))
    stored = stored.reshape(_count(data), *shape)
    if list(chosen) != list(range(len(stored))):
        stored = stored[list(chosen)]
    return stored.astype(stored.dtype.newbyteorder("="), copy=False), str(meta["photometric_interpretation"])


def _compressed(data: Dataset, syntax: str, chosen: Sequence[int]) -> tuple[Array, str]:
    from pydicom.encaps import generate_frames

    kind, photometric = _CODECS[syntax], str(data.PhotometricInterpretation)
    wanted = {place: number for number, place in enumerate(chosen)}
    frame = Frame(
        kind,
        int(data.Rows),
        int(data.Columns),
        int(data.get("SamplesPerPixel", 1)),
        int(data.BitsAllocated),
        _space(photometric),
    )
    if "PixelData" not in data:
        raise ValueError("it has no pixel data")
    found: dict[int, bytes] = {}
    for place, content in enumerate(generate_frames(data.PixelData, number_of_frames=_count(data))):
        if place in wanted:
            found[wanted[place]] = content
    if len(found) != len(chosen):
        raise ValueError(f"it holds {len(found)} of {len(chosen)} frames")
    stacked = _decode_all([found[number] for number in range(len(chosen))], frame)
    if stacked.ndim == 4 and photometric in ("YBR_FULL", "YBR_FULL_422") and kind in _KEEPS_COLOURS:
        from pydicom.pixels.processing import convert_color_space

        stacked = convert_color_space(stacked, photometric, "RGB")
    return stacked, photometric


def _space(photometric: str) -> str:
    if photometric.startswith("MONOCHROME") or photometric == "PALETTE COLOR":
        return ""
    return "YCBCR" if photometric.startswith("YBR") else "RGB"


def _decode_all(contents: Sequence[bytes], frame: Frame) -> Array:
    if len(contents) == 1:
        return decode_frame(contents[0], frame)[None]
    with ThreadPoolExecutor(_THREADS, thread_name_prefix="osler-dicom") as pool:
        return np.stack(list(pool.map(lambda content: decode_frame(content, frame), contents)))


def _through_palette(frames: Array, data: Any) -> Array:
    """Palette indices to 8-bit RGB."""
    from pydicom.pixels.processing import apply_color_lut

    colours = np.asarray(apply_color_lut(frames, data))
    if colours.dtype.itemsize > 1:
        bits = int(data.RedPaletteColorLookupTableDescriptor[2])
        colours = (colours >> max(bits - 8, 0)).astype(np.uint8)
    return colours[..., :3]


def _eight_bits(colours: Array, data: Any) -> Array:
    """Colours of more than 16 bits a sample, which no picture format has, keep their upper 16."""
    if colours.dtype.itemsize <= 2:
        return colours
    return (colours >> (int(data.BitsStored) - 16)).astype(np.uint16)
