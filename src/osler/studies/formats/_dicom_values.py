"""From stored values to what they mean: modality transformation, units, and how to show them (PS3.3 C.11)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from osler.studies.geometry import Array

__all__ = [
    "curve_of",
    "inverted",
    "is_inverted",
    "number",
    "padding_note",
    "rescale",
    "through_modality_table",
    "units_of",
    "window_of_file",
]

_QUANTITIES = ("CT", "PT", "NM", "RTDOSE")
_SIGMOID_POINTS = 256
_AIR = -1024  # HU: nothing in or around a patient is below
_COUNTED = 4_000_000  # pixels in which padding is counted


def rescale(stored: Array, slopes: Sequence[float], intercepts: Sequence[float]) -> Array:
    """``stored × slope + intercept`` per slice: int16 or int32 where that is exact, else float32.

    Args:
        stored: (slices, rows, columns[, 3]); overwritten where the result has its size. Colour is left as it is.
        slopes, intercepts: one per slice.
    """
    if stored.ndim == 4 or (set(slopes) == {1.0} and set(intercepts) == {0.0}):
        return stored
    dtype = _smallest(stored, slopes, intercepts)
    if set(slopes) == {1.0} and dtype.kind == "i" and dtype.itemsize == stored.dtype.itemsize:
        values = stored.view(dtype) if stored.flags.writeable else stored.astype(dtype)
        for place, intercept in enumerate(intercepts):
            values[place] += dtype.type(intercept)  # the sum wraps around twice and is exact, as the result fits
        return values
    values = np.empty(stored.shape, dtype=dtype)
    for place, (slope, intercept) in enumerate(zip(slopes, intercepts, strict=True)):
        values[place] = stored[place].astype(np.float64) * slope + intercept
    return values


def _smallest(stored: Array, slopes: Sequence[float], intercepts: Sequence[float]) -> np.dtype[Any]:
    if not (all(value.is_integer() for value in (*slopes, *intercepts)) and stored.dtype.kind in "iu"):
        return np.dtype(np.float32)
    ends = np.outer([float(stored.min()), float(stored.max())], slopes) + intercepts
    for kind in (np.int16, np.int32):
        limits = np.iinfo(kind)
        if limits.min <= min(ends.min(), *intercepts) and max(ends.max(), *intercepts) <= limits.max:
            return np.dtype(kind)
    return np.dtype(np.float32)


def is_inverted(data: Any) -> bool:
    """Whether the smallest value is white and the values are shades: they are turned over then."""
    return data.get("PhotometricInterpretation") == "MONOCHROME1" and data.get("Modality") not in _QUANTITIES


def inverted(stored: Array, data: Any) -> Array:
    """Stored values of MONOCHROME1 turned over: the smallest becomes the largest."""
    return np.asarray(stored.dtype.type(_stored_sum(data)) - stored)


def through_modality_table(stored: Array, data: Any) -> Array:
    """Stored values through the modality LUT (PS3.3 C.11.1.1.1), turned over when they are inverted shades."""
    from pydicom.pixels.processing import apply_modality_lut

    values = np.asarray(apply_modality_lut(stored, data))
    return values.dtype.type(_modality_table_top(data)) - values if is_inverted(data) else values


def _stored_sum(data: Any) -> int:
    """Smallest plus largest stored value: what a value and its inversion add up to."""
    return -1 if int(data.PixelRepresentation) == 1 else (1 << int(data.BitsStored)) - 1


def _modality_table_top(data: Any) -> int:
    return (1 << int(data.ModalityLUTSequence[0].LUTDescriptor[2])) - 1


def units_of(data: Any) -> str:
    """UCUM unit of the rescaled values, where the header or the modality says it: HU of CT, Gy of doses; else ""."""
    modality = data.get("Modality")
    if modality == "CT":
        stated = str(data.get("RescaleType", "") or "HU")
        return "HU" if stated in ("HU", "US") else ""
    if modality == "RTDOSE":
        return "Gy" if data.get("DoseUnits") == "GY" else ""
    return "Bq/mL" if modality == "PT" and data.get("Units") == "BQML" else ""


def window_of_file(data: Any) -> tuple[float, float] | None:
    """The first (centre, width), following the values through an inversion.

    A file without one, but with a VOI LUT, gets the range that the table covers.
    """
    frame = _voi_item(data)
    centre, width = number(frame, "WindowCenter", np.nan), number(frame, "WindowWidth", np.nan)
    if not (np.isfinite([centre, width]).all() and width > 0):
        table = _table(data)
        if table is None:
            return None
        centre, width = (table[0][0] + table[0][-1]) / 2, float(table[0][-1] - table[0][0])
    return _mirrored(data, centre), width


def curve_of(data: Any) -> tuple[Array, Array] | None:
    """How values become brightness where that is no straight line: (inputs, outputs from 0 to 1), else None.

    A VOI LUT (PS3.3 C.11.2.1.1) or the sigmoid function of a window (C.11.2.1.3.1). Inputs grow.
    """
    frame = _voi_item(data)
    table = _table(data)
    if frame.get("VOILUTFunction") == "SIGMOID":
        centre, width = number(frame, "WindowCenter", np.nan), number(frame, "WindowWidth", np.nan)
        if np.isfinite([centre, width]).all() and width > 0:
            inputs = np.linspace(centre - 1.5 * width, centre + 1.5 * width, _SIGMOID_POINTS)
            table = (inputs, 1 / (1 + np.exp(-4 * (inputs - centre) / width)))
    if table is None:
        return None
    if not is_inverted(data):
        return table
    # A shade is turned over once, before it gets here: what was dark at the lower end is bright at the upper one.
    inputs = np.array([_mirrored(data, float(value)) for value in table[0]])
    return inputs[::-1], 1 - table[1][::-1]


def _mirrored(data: Any, value: float) -> float:
    if not is_inverted(data):
        return value
    if data.get("ModalityLUTSequence"):
        return _modality_table_top(data) - value
    slope, intercept = number(data, "RescaleSlope", 1.0), number(data, "RescaleIntercept", 0.0)
    return slope * _stored_sum(data) + 2 * intercept - value


def padding_note(data: Any, values: Array) -> str:
    """How much of an image is padding that no patient has a value of (PS3.3 C.7.5.1.1.2); "" when nothing is.

    A padding value that may be one of the patient's too, such as the 0 of an MR image, is not told from it.

    Args:
        data: of the file in the middle of a stack.
        values: (slices, rows, columns) after the modality transformation; a part of a large image stands for it.
    """
    stored = data.get("PixelPaddingValue")
    if not isinstance(stored, int) or data.get("ModalityLUTSequence") or is_inverted(data):
        return ""
    limit = data.get("PixelPaddingRangeLimit")
    slope, intercept = number(data, "RescaleSlope", 1.0), number(data, "RescaleIntercept", 0.0)
    ends = [slope * one + intercept for one in (stored, limit if isinstance(limit, int) else stored)]
    hounsfield = units_of(data) == "HU"
    if max(ends) >= (_AIR if hounsfield else 0):
        return ""
    step = max(1, int((values.size / _COUNTED) ** 0.5))
    part = values[:, ::step, ::step]
    count = int(np.count_nonzero((part >= min(ends) - 0.5 * abs(slope)) & (part <= max(ends) + 0.5 * abs(slope))))
    if not count:
        return ""
    return (
        f"{100 * count / part.size:.2g} % of it is padding around what was scanned (PixelPaddingValue), left at "
        f"{ends[0]:g}{' HU' if hounsfield else ''}"
    )


def _voi_item(data: Any) -> Any:
    """Where window and function stand: the shared functional groups of a multi-frame file, else the top level."""
    shared = data.get("SharedFunctionalGroupsSequence")
    frames = data.get("PerFrameFunctionalGroupsSequence")
    for groups in (shared, frames[len(frames) // 2 :] if frames else None):
        inner = groups[0].get("FrameVOILUTSequence") if groups else None
        if inner:
            return inner[0]
    return data


def _table(data: Any) -> tuple[Array, Array] | None:
    """The first VOI LUT as (inputs, outputs from 0 to 1)."""
    items = data.get("VOILUTSequence")
    if not items or not items[0].get("LUTDescriptor") or items[0].get("LUTData") is None:
        return None
    count, first, bits = (int(value) for value in items[0].LUTDescriptor)
    entries = items[0].LUTData
    outputs = np.frombuffer(entries, "<u2") if isinstance(entries, bytes) else np.asarray(entries)
    count = count or 1 << 16
    if len(outputs) < count or count < 2 or not 1 <= bits <= 16:
        raise ValueError(f"its VOI LUT has {len(outputs)} entries of the {count} that its descriptor says")
    return first + np.arange(count, dtype=float), outputs[:count].astype(float) / ((1 << bits) - 1)


def number(data: Any, keyword: str, default: float) -> float:
    """The first value of a numeric attribute; ``default`` when it is absent or empty."""
    value = data.get(keyword)
    if value is None or value == "":
        return default
    if not isinstance(value, (int, float)):
        value = value[0] if len(value) else default
    return float(value)
