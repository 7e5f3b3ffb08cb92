"""Durations as people write them: ``90s``, ``15m``, ``1h30m``."""

from __future__ import annotations

import re

from osler.errors import UsageError

__all__ = ["format_duration", "parse_duration"]

_FORM = re.compile(r"(?:(?P<h>\d+(?:\.\d+)?)h)?(?:(?P<m>\d+(?:\.\d+)?)m)?(?:(?P<s>\d+(?:\.\d+)?)s)?")
_SECONDS = {"h": 3600.0, "m": 60.0, "s": 1.0}


def parse_duration(text: str) -> float:
    """Seconds of a duration such as ``"90s"``, ``"15m"`` or ``"1h30m"``; hours, minutes and seconds in this order.

    Raises:
        UsageError: when the text has no such form (a number alone says no unit) or the duration is zero.
    """
    match = _FORM.fullmatch(text.strip().lower().replace(" ", ""))
    parts = {} if match is None else {unit: value for unit, value in match.groupdict().items() if value}
    seconds = sum(float(value) * _SECONDS[unit] for unit, value in parts.items())
    if not parts:
        raise UsageError(f"{text!r} is not a duration", remedy="write it as 90s, 15m or 1h30m")
    if seconds <= 0:
        raise UsageError(f"{text!r} is not a duration above zero", remedy="write it as 90s, 15m or 1h30m")
    return seconds


def format_duration(seconds: float) -> str:
    """A duration for people, to two units: ``"8.2 s"``, ``"2 min 5 s"``, ``"1 h 30 min"``."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s" if whole % 60 else f"{whole // 60} min"
    minutes = round(whole / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes % 60 else f"{minutes // 60} h"
