"""Amounts of memory as people write them: ``8g``, ``500m``."""

from __future__ import annotations

import re

from osler.errors import UsageError

__all__ = ["format_size", "parse_size"]

_FORM = re.compile(r"(\d+(?:\.\d+)?)(k|m|g|t)i?b?")
_BYTES = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def parse_size(text: str) -> int:
    """Bytes of a size such as ``"8g"`` or ``"500m"``, in powers of 1024.

    Raises:
        UsageError: when the text has no such form (a number alone says no unit) or the size is zero.
    """
    match = _FORM.fullmatch(text.strip().lower().replace(" ", ""))
    size = int(float(match[1]) * _BYTES[match[2]]) if match else 0
    if size == 0:
        raise UsageError(f"{text!r} is no amount of memory", remedy="write it as 8g or 500m")
    return size


def format_size(count: float) -> str:
    """Bytes for people, in powers of 1000: ``"850 MB"``, ``"2.4 GB"``."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count, 0) / 1e6:.0f} MB"
