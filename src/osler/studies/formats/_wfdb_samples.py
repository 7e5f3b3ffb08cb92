"""The sample formats of WFDB signal files: bytes to whole numbers.

Source: "signal(5)", WFDB Applications Guide (physionet.org/physiotools/wag/signal-5.htm).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from osler.errors import Unreadable
from osler.studies.geometry import Array

__all__ = ["INVALID", "bytes_of", "decode", "samples_in"]

INVALID: dict[str, int] = {
    "16": -32768,
    "24": -8388608,
    "32": -2147483648,
    "61": -32768,
    "80": -128,
    "160": -32768,
    "212": -2048,
    "310": -512,
    "311": -512,
}
"""By format, the value that stands for "not measured"."""

_BITS = {"8": 8, "16": 16, "24": 24, "32": 32, "61": 16, "80": 8, "160": 16}


def bytes_of(name: str, count: int) -> int:
    """Bytes that ``count`` samples need."""
    if name == "212":
        return count // 2 * 3 + count % 2 * 2
    if name in ("310", "311"):
        return count // 3 * 4 + (0, 2, 4 if name == "310" else 3)[count % 3]
    return count * _BITS[name] // 8


def samples_in(name: str, size: int) -> int:
    """Samples that ``size`` bytes hold."""
    if name == "212":
        return size // 3 * 2 + (size % 3) // 2
    if name in ("310", "311"):
        return size // 4 * 3 + (0, 0, 1, 1 if name == "310" else 2)[size % 4]
    return size * 8 // _BITS[name]


def decode(name: str, data: bytes, count: int, path: Path) -> Array:
    """``count`` samples as int32.

    Raises:
        Unreadable: for a format that is not read, or too few bytes.
    """
    if name not in _DECODERS:
        raise Unreadable(
            f"{path} has samples in the format {name[:10]!r}", remedy="convert it with xform to the format 16"
        )
    size = bytes_of(name, count)
    if len(data) < size:
        raise Unreadable(
            f"{path} is cut off: {samples_in(name, len(data)):,} of {count:,} samples are there",
            remedy="copy or export it again",
        )
    return np.asarray(_DECODERS[name](data[:size])[:count].astype(np.int32, copy=False))


def _plain(dtype: str, offset: int = 0) -> Callable[[bytes], Array]:
    def decoded(data: bytes) -> Array:
        return np.asarray(np.frombuffer(data, dtype).astype(np.int32) - offset)

    return decoded


def _24(data: bytes) -> Array:
    triples = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
    return _signed(triples[:, 0] | triples[:, 1] << 8 | triples[:, 2] << 16, 24)


def _212(data: bytes) -> Array:
    """Two samples of 12 bits in three bytes: low byte, the high nibbles of both (second above), low byte."""
    padded = np.frombuffer(data + b"\0" * (-len(data) % 3), np.uint8).reshape(-1, 3).astype(np.int32)
    first = padded[:, 0] | (padded[:, 1] & 0x0F) << 8
    second = padded[:, 2] | (padded[:, 1] & 0xF0) << 4
    return _signed(np.stack([first, second], axis=1).ravel(), 12)


def _310(data: bytes) -> Array:
    """Three samples of 10 bits in two words: each in the upper bits of a word, the third in both words' ends."""
    words = np.frombuffer(data + b"\0" * (-len(data) % 4), "<u2").reshape(-1, 2).astype(np.int32)
    third = (words[:, 0] & 0xF800) >> 11 | (words[:, 1] & 0xF800) >> 6
    return _signed(np.stack([words[:, 0] >> 1 & 0x3FF, words[:, 1] >> 1 & 0x3FF, third], axis=1).ravel(), 10)


def _311(data: bytes) -> Array:
    """Three samples of 10 bits, one after the other from the lowest bit of four bytes."""
    words = np.frombuffer(data + b"\0" * (-len(data) % 4), "<u4").astype(np.int64)
    return _signed(np.stack([words & 0x3FF, words >> 10 & 0x3FF, words >> 20 & 0x3FF], axis=1).ravel(), 10)


def _8(data: bytes) -> Array:
    """Differences; the caller adds the signal's initial value."""
    return np.asarray(np.frombuffer(data, np.int8).astype(np.int32))


def _signed(values: Array, bits: int) -> Array:
    return np.asarray(np.where(values >= 2 ** (bits - 1), values - 2**bits, values))


_DECODERS: dict[str, Callable[[bytes], Array]] = {
    "8": _8,
    "16": _plain("<i2"),
    "24": _24,
    "32": _plain("<i4"),
    "61": _plain(">i2"),
    "80": _plain("u1", 128),
    "160": _plain("<u2", 32768),
    "212": _212,
    "310": _310,
    "311": _311,
}
