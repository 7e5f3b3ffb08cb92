"""Channels of a file to signals: those of one rate, unit and length belong together."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from osler.studies.geometry import Array
from osler.studies.study import Signal

__all__ = ["UNCALIBRATED", "Lead", "grouped", "ucum"]

UNCALIBRATED = "[arb'U]"
"""UCUM's arbitrary unit: numbers whose meaning the file does not give."""

_UCUM = {
    "µv": "uV",
    "μv": "uV",
    "uv": "uV",
    "microvolt": "uV",
    "mv": "mV",
    "v": "V",
    "nv": "nV",
    "mmhg": "mm[Hg]",
    "cmh2o": "cm[H2O]",
    "degc": "Cel",
    "°c": "Cel",
    "bpm": "/min",
    "hz": "Hz",
    "ohm": "Ohm",
    "deg": "deg",
    "adu": UNCALIBRATED,
    "nu": UNCALIBRATED,
    "": UNCALIBRATED,
}


@dataclass(frozen=True, eq=False)
class Lead:
    """One channel in physical units, (time,)."""

    name: str
    samples: Array
    rate_hz: float
    unit: str


def ucum(unit: str) -> str:
    """The unit as UCUM writes it; what is not known is left as it stands. Case matters for volts: MV is not mV."""
    text = unit.strip()
    if text in ("MV", "NV"):
        return text
    return _UCUM.get(text.lower(), text)


def grouped(leads: Iterable[Lead]) -> dict[str, Signal]:
    """Signals by name: "signal" when all leads fit together, else e.g. "mV at 360 Hz"."""
    groups: dict[tuple[float, str, int], list[Lead]] = {}
    for lead in leads:
        groups.setdefault((lead.rate_hz, lead.unit, len(lead.samples)), []).append(lead)
    signals: dict[str, Signal] = {}
    for (rate, unit, _), members in groups.items():
        name = "signal" if len(groups) == 1 else f"{unit} at {rate:g} Hz"
        while name in signals:  # equal but for their length
            name += " (more)"
        samples = np.stack([member.samples for member in members])
        signals[name] = Signal(samples, rate, unit, tuple(member.name for member in members))
    return signals
