"""Pixels of a DICOM data set: decompression, sign, photometric interpretation. Values stay stored values.

JPEG, JPEG-LS and JPEG 2000 go through imagecodecs, whatever pydicom plug-ins happen to be installed: it reads the
12-bit and retired processes that others refuse, and every machine gives the same pixels. Uncompressed, deflated and
RLE data go through pydicom.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from osler.studies.geometry import Array

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["decode"]

_JPEG = "1.2.840.10008.1.2.4."
_IMPLICIT = "1.2.840.10008.1.2"  # what a file without a preamble is
_RLE = "1.2.840.10008.1.2.5"
_JPEG_LS = ("80", "81")
_JPEG_2000 = ("90", "91", "201", "202", "203")


def decode(data: Dataset) -> Array:
    """Stored values of every frame.

    Args:
        data: a data set with pixels.

    Returns:
        (frames, rows, columns) grey in the stored integer dtype, or (frames, rows, columns, 3) RGB.

    Raises:
        ValueError: pixels that are missing, cut off, or of an unknown kind.
    """
    syntax = str(data.file_meta.get("TransferSyntaxUID", _IMPLICIT))
    frames, photometric = _decode_jpeg(data, syntax) if syntax.startswith(_JPEG) else _decode_plain(data, syntax)
    expected = (int(data.get("NumberOfFrames", 1) or 1), int(data.Rows), int(data.Columns))
    if frames.shape[:3] != expected:
        raise ValueError(f"the pixels have shape {frames.shape[:3]} and the header says {expected}")
    if photometric == "PALETTE COLOR":
        return _through_palette(frames, data)
    if frames.ndim == 4:
        return frames
    return _with_sign(frames, data)


def _decode_plain(data: Dataset, syntax: str) -> tuple[Array, str]:
    from pydicom.pixels.decoders.base import get_decoder

    plugin = "pydicom" if syntax == _RLE else ""
    frames, meta = get_decoder(syntax).as_array(data, decoding_plugin=plugin)
    count = int(data.get("NumberOfFrames", 1) or 1)
    frames = frames.reshape(count, *frames.shape[-(3 if data.SamplesPerPixel == 3 else 2) :])
    return frames.astype(frames.dtype.newbyteorder("="), copy=False), str(meta["photometric_interpretation"])


def _decode_jpeg(data: Dataset, syntax: str) -> tuple[Array, str]:
    from pydicom.encaps import generate_frames

    photometric = str(data.PhotometricInterpretation)
    count = int(data.get("NumberOfFrames", 1) or 1)
    kind = syntax.removeprefix(_JPEG)
    frames = [
        _decode_frame(frame, kind, photometric) for frame in generate_frames(data.PixelData, number_of_frames=count)
    ]
    stacked = np.stack(frames)
    if stacked.ndim == 4 and photometric in ("YBR_FULL", "YBR_FULL_422") and kind in (*_JPEG_LS, *_JPEG_2000):
        from pydicom.pixels.processing import convert_color_space  # these two codecs hold the colour space as it is

        stacked = convert_color_space(stacked, photometric, "RGB")
    return stacked, photometric


def _decode_frame(frame: bytes, kind: str, photometric: str) -> Array:
    import imagecodecs

    if kind in _JPEG_2000:
        return np.asarray(imagecodecs.jpeg2k_decode(frame))
    if kind in _JPEG_LS:
        return np.asarray(imagecodecs.jpegls_decode(frame))
    if not frame.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise ValueError("the compressed pixels are cut off")  # the decoder would fill the rest with grey
    if photometric.startswith("MONOCHROME") or photometric == "PALETTE COLOR":
        return np.asarray(imagecodecs.jpeg_decode(frame))
    space = "YCBCR" if photometric.startswith("YBR") else "RGB"
    return np.asarray(imagecodecs.jpeg_decode(frame, colorspace=space, outcolorspace="RGB"))


def _through_palette(frames: Array, data: Any) -> Array:
    """Palette indices to 8-bit RGB."""
    from pydicom.pixels.processing import apply_color_lut

    colours = np.asarray(apply_color_lut(frames, data))
    if colours.dtype.itemsize > 1:
        bits = int(data.RedPaletteColorLookupTableDescriptor[2])
        colours = (colours >> max(bits - 8, 0)).astype(np.uint8)
    return colours[..., :3]


def _with_sign(frames: Array, data: Any) -> Array:
    """Keep the ``BitsStored`` low bits (others may hold overlays) and read them as signed where the header says so."""
    if frames.dtype.kind == "f":
        return frames
    bits, width = int(data.BitsStored), frames.dtype.itemsize * 8
    if int(data.PixelRepresentation) == 1:
        signed = frames.view(np.dtype(f"i{frames.dtype.itemsize}"))
        # Shifting up and back down copies the sign bit of the stored value into the unused bits.
        return signed if bits == width else (signed << (width - bits)) >> (width - bits)
    unsigned = frames.view(np.dtype(f"u{frames.dtype.itemsize}"))
    return unsigned if bits == width else unsigned & unsigned.dtype.type((1 << bits) - 1)
