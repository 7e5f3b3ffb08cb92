"""Pictures of signals: an ECG on its paper, 25 mm a second and 10 mm a millivolt, as cardiologists read it.

Small squares are 1 mm (0.04 s, 0.1 mV), large ones 5 mm (0.2 s, 0.5 mV). Each row begins with a calibration pulse of
10 mm (1 mV at the usual gain) and 0.2 s. A signal in no unit of voltage gets a scale of its own, written beside its
pulse, and the line of its row stands for its median; so it does where 0 V would lie off the paper.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import Array
from osler.studies.pictures import DISCLAIMER
from osler.studies.study import Signal

if TYPE_CHECKING:
    import PIL.Image
    import PIL.ImageDraw

__all__ = ["MILLIVOLT", "on_ecg_paper"]

_MM_PER_SECOND, _MM_PER_MV = 25.0, 10.0
MILLIVOLT = {"uV": 1e3, "mV": 1.0, "V": 1e-3, "nV": 1e6}
"""A millivolt, in each unit of voltage."""
_PAPER, _FINE, _COARSE, _INK, _NOTE = (255, 250, 248), (250, 219, 214), (235, 160, 152), (20, 20, 20), (90, 70, 70)
_LEAD_MM, _PULSE_MM, _TOP_MM, _FOOT_MM = 30.0, 8.0, 10.0, 8.0
_LEAST_ROW_MM, _MOST_ROW_MM, _ROOM_MM = 20.0, 60.0, 5.0
_NOTE_MM = 4.0
_MOST_PIXELS = 60_000_000


def on_ecg_paper(
    signal: Signal,
    *,
    start_s: float = 0.0,
    seconds: float = 10.0,
    marks: Sequence[tuple[float, str]] = (),
    caption: str = "",
    mm_per_mv: float = _MM_PER_MV,
    pixels_per_mm: int = 4,
) -> PIL.Image.Image:
    """Draw each lead of a signal in a row of its own.

    Args:
        signal: (leads, time); NaN leaves a gap.
        start_s: first second shown.
        seconds: how much is shown; the rest of a shorter signal stays empty.
        marks: (second, text) above the first row, e.g. beats.
        caption: what stands above.
        mm_per_mv: height of a millivolt; an EEG, which is small, needs more than the usual 10.
        pixels_per_mm: size of the picture.

    Raises:
        UsageError: when nothing of the signal lies in that time, or the picture would be too large.
    """
    import PIL.Image
    import PIL.ImageDraw

    first = round(start_s * signal.rate_hz)
    shown = signal.samples[:, max(0, first) : first + math.ceil(seconds * signal.rate_hz) + 1]
    if start_s < 0 or seconds <= 0 or shown.shape[1] < 2:
        length = signal.samples.shape[1] / signal.rate_hz
        raise UsageError(
            f"from {start_s:g} s on for {seconds:g} s there is nothing of a signal of {length:.1f} s",
            remedy="choose a start within it",
        )
    scale = MILLIVOLT.get(signal.unit)
    millimetres = [mm_per_mv / scale if scale else _fitting(lead) for lead in shown]
    lines = [_line_of(lead, factor, scale is not None) for lead, factor in zip(shown, millimetres, strict=True)]
    shown = shown - np.array(lines)[:, None]
    rows = [_row(lead * factor) for lead, factor in zip(shown, millimetres, strict=True)]
    size = _LEAD_MM + seconds * _MM_PER_SECOND + 5, _TOP_MM + sum(up + down for up, down in rows) + _FOOT_MM
    if size[0] * size[1] * pixels_per_mm**2 > _MOST_PIXELS:
        raise UsageError(
            f"a picture of {seconds:g} s of {len(rows)} leads is too large", remedy="show fewer seconds or leads"
        )
    paper = PIL.Image.fromarray(_grid(size, pixels_per_mm))
    pen = _Pen(PIL.ImageDraw.Draw(paper), pixels_per_mm)
    pen.text(2, 1.5, caption)
    y = _TOP_MM
    for lead, factor, line, name, (up, down) in zip(shown, millimetres, lines, signal.leads, rows, strict=True):
        y += up
        pen.text(2, y - 7.5, name)
        pen.pulse(y, 10.0)
        pen.text(2, y + 1.5, "" if scale else f"10 mm = {10 / factor:.3g} {signal.unit}", quiet=True)
        pen.text(2, y + (1.5 if scale else 5), f"line at {line:.4g} {signal.unit}" if line else "", quiet=True)
        pen.trace(lead * factor, y, signal.rate_hz)
        y += down
    for second, text in marks:
        if start_s <= second <= start_s + seconds:
            pen.text(_LEAD_MM + (second - start_s) * _MM_PER_SECOND, _TOP_MM - 3, text, centred=True)
    gain = f"{mm_per_mv:g} mm/mV · " if scale else ""
    pen.text(2, size[1] - 5, f"25 mm/s · {gain}{start_s:g} to {start_s + seconds:g} s · {DISCLAIMER}", quiet=True)
    return paper


class _Pen:
    """Draws in millimetres of paper."""

    def __init__(self, draw: PIL.ImageDraw.ImageDraw, pixels_per_mm: int) -> None:
        self.draw, self.scale = draw, pixels_per_mm

    def text(self, x: float, y: float, text: str, *, quiet: bool = False, centred: bool = False) -> None:
        size = round((2.6 if quiet else 3.6) * self.scale)
        place = (x * self.scale, y * self.scale)
        self.draw.text(place, text, _NOTE if quiet else _INK, font=_font(size), anchor="mt" if centred else "lt")

    def pulse(self, y: float, height: float) -> None:
        x = _PULSE_MM + 6
        corners = ((x - 2, y), (x, y), (x, y - height), (x + 5, y - height), (x + 5, y), (x + 7, y))
        self._line(corners)

    def trace(self, millimetres: Array, y: float, rate_hz: float) -> None:
        """One line per stretch without NaN."""
        x = _LEAD_MM + np.arange(len(millimetres)) / rate_hz * _MM_PER_SECOND
        known = np.flatnonzero(np.isfinite(millimetres))
        for stretch in np.split(known, np.flatnonzero(np.diff(known) > 1) + 1):
            if len(stretch) > 1:
                self._line(list(zip(x[stretch], y - millimetres[stretch], strict=True)))

    def _line(self, points: Sequence[tuple[float, float]]) -> None:
        scaled = [(float(x) * self.scale, float(y) * self.scale) for x, y in points]
        self.draw.line(scaled, _INK, width=max(1, round(self.scale * 0.35)), joint="curve")


def _font(size: int) -> Any:
    import PIL.ImageFont

    return PIL.ImageFont.load_default(size)


def _fitting(lead: Array) -> float:
    """Millimetres per unit, so that 10 mm are 1, 2 or 5 times a power of ten, and the trace about 20 mm high."""
    known = lead[np.isfinite(lead)]
    extent = float(np.ptp(known)) if known.size else 0.0
    if extent <= 0:
        return 10.0
    wanted = extent / 2  # units for 10 mm
    decade = 10.0 ** math.floor(math.log10(wanted))
    return 10.0 / min((step * decade for step in (1, 2, 5, 10)), key=lambda step: abs(math.log(step / wanted)))


def _line_of(lead: Array, factor: float, is_voltage: bool) -> float:
    """The value that the row's line stands for: 0, or the median where 0 is too far away to be drawn."""
    known = lead[np.isfinite(lead)]
    far = known.size > 0 and float(np.abs(known).max()) * factor > _MOST_ROW_MM - _ROOM_MM
    return float(np.median(known)) if known.size and (far or not is_voltage) else 0.0


def _row(millimetres: Array) -> tuple[float, float]:
    """Millimetres above and below the zero line that a trace needs, in whole large squares."""
    known = millimetres[np.isfinite(millimetres)]
    high, low = (float(known.max()), float(known.min())) if known.size else (0.0, 0.0)
    up = min(max(high, _LEAST_ROW_MM / 2) + _ROOM_MM, _MOST_ROW_MM)
    down = min(max(-low, _NOTE_MM) + _ROOM_MM, _MOST_ROW_MM)
    return math.ceil(up / 5) * 5.0, math.ceil(down / 5) * 5.0


def _grid(size: tuple[float, float], pixels_per_mm: int) -> Array:
    """(rows, columns, 3): paper with lines every millimetre and stronger ones every five."""
    width, height = (math.ceil(side) * pixels_per_mm for side in size)
    paper = np.full((height, width, 3), _PAPER, np.uint8)
    for step, colour in ((1, _FINE), (5, _COARSE)):
        paper[:: step * pixels_per_mm] = colour
        paper[:, :: step * pixels_per_mm] = colour
    return paper
