"""Charts as inline SVG: strings without scripts, colours from the page's CSS, every name escaped.

Lengths are in the units of the view box. All functions return one ``<svg>`` element.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from osler.assurance.results import Bin, Confusion, Figure, Line

__all__ = ["Plot", "agreement", "confusion", "curves", "forest", "reliability", "strips"]

_WIDTH, _HEIGHT = 440, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 14, 12, 48
_DASHES = ("", "7 3", "2 3", "9 3 2 3")
Point = tuple[float, float]


class Plot:
    """A frame with axes (lengths in the view box's units); data coordinates in, SVG elements out."""

    def __init__(
        self, x: tuple[float, float], y: tuple[float, float], *, width: int = _WIDTH, height: int = _HEIGHT
    ) -> None:
        self.x_range, self.y_range = x, y
        self.width, self.height = width, height
        self.left, self.right, self.top, self.bottom = _LEFT, width - _RIGHT, _TOP, height - _BOTTOM
        self.parts: list[str] = []

    def at(self, x: float, y: float) -> Point:
        """Data to view box; y grows upwards in the data."""
        (x0, x1), (y0, y1) = self.x_range, self.y_range
        across = self.left + (x - x0) / (x1 - x0) * (self.right - self.left)
        up = self.bottom - (y - y0) / (y1 - y0) * (self.bottom - self.top)
        return round(across, 1), round(up, 1)

    def axes(self, x_title: str, y_title: str) -> None:
        """Grid, ticks and titles."""
        self.x_axis(x_title)
        self.y_axis(y_title)

    def x_axis(self, title: str, *, ticks: Sequence[tuple[float, str]] | None = None) -> None:
        """Grid, ticks (data coordinate and words; None for round numbers) and title."""
        for tick, words in ticks if ticks is not None else [(t, _tick_text(t)) for t in _ticks(*self.x_range)]:
            px, _ = self.at(tick, self.y_range[0])
            self.parts.append(f'<line class="grid" x1="{px}" x2="{px}" y1="{self.top}" y2="{self.bottom}"/>')
            self.text(px, self.bottom + 17, words, anchor="middle")
        self.text((self.left + self.right) / 2, self.height - 8, title, anchor="middle", kind="axis")

    def y_axis(self, title: str) -> None:
        """The same, upwards."""
        for tick in _ticks(*self.y_range):
            _, py = self.at(self.x_range[0], tick)
            self.parts.append(f'<line class="grid" x1="{self.left}" x2="{self.right}" y1="{py}" y2="{py}"/>')
            self.text(self.left - 7, py + 4, _tick_text(tick), anchor="end")
        middle = (self.top + self.bottom) / 2
        turn = f'transform="rotate(-90 14 {middle})"'
        self.parts.append(f'<text class="axis" x="14" y="{middle}" text-anchor="middle" {turn}>{escape(title)}</text>')

    def box(self, x0: float, x1: float, y0: float, y1: float, kind: str, title: str = "") -> None:
        """A rectangle between data coordinates; the title shows on hovering."""
        (left, bottom), (right, top) = self.at(x0, y0), self.at(x1, y1)
        size = f'width="{max(right - left - 0.6, 0.4):.1f}" height="{bottom - top:.1f}"'
        hover = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<rect class="{kind}" x="{left}" y="{top}" {size}>{hover}</rect>')

    def line(self, points: Sequence[Point], kind: str, extra: str = "") -> None:
        """A polyline through data points."""
        path = " ".join(f"{px},{py}" for px, py in (self.at(*p) for p in points))
        self.parts.append(f'<polyline class="{kind}" points="{path}" {extra}/>')

    def dot(self, x: float, y: float, radius: float, kind: str, title: str = "") -> None:
        """A disc at a data point; the title shows on hovering."""
        px, py = self.at(x, y)
        hover = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<circle class="{kind}" cx="{px}" cy="{py}" r="{radius:.1f}">{hover}</circle>')

    def text(self, px: float, py: float, words: str, *, anchor: str = "start", kind: str = "tick") -> None:
        """Words at a point of the view box."""
        self.parts.append(
            f'<text class="{kind}" x="{px:.1f}" y="{py:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def svg(self, title: str) -> str:
        """The element."""
        return _svg(self.width, self.height, self.parts, title)


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    words = escape(title, quote=True)
    return f'<svg viewBox="0 0 {width:g} {height:g}" role="img" aria-label="{words}">{"".join(parts)}</svg>'


def _ticks(low: float, high: float, *, about: int = 5) -> list[float]:
    """Round numbers between low and high."""
    raw = (high - low) / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(power * m for m in (1, 2, 2.5, 5, 10) if power * m >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [float(round(n * step, 10)) for n in range(first, math.floor(high / step + 1e-9) + 1)]


def _tick_text(value: float) -> str:
    """A tick's number, with a true minus sign."""
    return f"{value:g}".replace("-", "−")


def curves(
    lines: Mapping[str, Line],
    labels: Mapping[str, str],
    *,
    x_title: str,
    y_title: str,
    title: str,
    marks: Mapping[str, Point] | None = None,
    diagonal: bool = False,
) -> str:
    """Curves in the unit square.

    Args:
        lines: by label.
        labels: what the legend says of each.
        x_title: of the axis.
        y_title: of the axis.
        title: for screen readers.
        marks: by label, a point to mark (the threshold in use).
        diagonal: draw the line of chance.
    """
    plot = Plot((0, 1), (0, 1))
    plot.axes(x_title, y_title)
    if diagonal:
        plot.line([(0, 0), (1, 1)], "reference")
    for i, (label, line) in enumerate(lines.items()):
        dash = f'stroke-dasharray="{_DASHES[i // 6 % 4]}"'
        plot.line(list(zip(line.x, line.y, strict=True)), f"curve c{i % 6}", dash)
        if marks and label in marks:
            plot.dot(*marks[label], 5, f"mark c{i % 6}", "threshold in use")
    for i, label in enumerate(lines):
        y = plot.bottom - 14 - 17 * (len(lines) - 1 - i)
        dash = f'stroke-dasharray="{_DASHES[i // 6 % 4]}"'
        x = plot.left + 12 if not diagonal else plot.left + 130
        plot.parts.append(f'<line class="curve c{i % 6}" x1="{x}" x2="{x + 22}" y1="{y - 4}" y2="{y - 4}" {dash}/>')
        plot.text(x + 28, y, labels.get(label, label), kind="legend")
    return plot.svg(title)


def reliability(bins: Sequence[Bin], *, x_title: str, y_title: str, title: str) -> str:
    """Stated probability against what happened; the bars at the foot show how many cases each point stands for."""
    plot = Plot((0, 1), (0, 1))
    most = max((b.cases for b in bins), default=0) or 1
    for b in bins:
        (x0, y0), (x1, y1) = plot.at(b.low, 0.16 * b.cases / most), plot.at(b.high, 0)
        hover = f"<title>{b.cases} cases</title>"
        plot.parts.append(
            f'<rect class="bar" x="{x0 + 1}" y="{y0}" width="{x1 - x0 - 2:.1f}" height="{y1 - y0:.1f}">{hover}</rect>'
        )
    plot.axes(x_title, y_title)
    plot.line([(0, 0), (1, 1)], "reference")
    points = [
        (b.probability, b.observed, b.cases) for b in bins if b.probability is not None and b.observed is not None
    ]
    plot.line([(p, o) for p, o, _ in points], "curve c0")
    for p, o, n in points:
        plot.dot(p, o, 4 + 5 * math.sqrt(n / most), "mark c0", f"{n} cases: stated {p:.2f}, happened {o:.2f}")
    return plot.svg(title)


def confusion(matrix: Confusion, *, title: str) -> str:
    """Counts, shaded by the share of the true label; rows are the truth."""
    number = len(matrix.labels)
    cell = max(34, min(96, 520 // max(number, 1)))
    left = 28 + min(190, max(7 * len(label) for label in matrix.labels) + 16)
    top, size = 46, number * cell
    parts = []
    for i, (label, row) in enumerate(zip(matrix.labels, matrix.counts, strict=True)):
        total = sum(row)
        y = top + i * cell
        parts.append(_label(left - 8, y + cell / 2 + 4, label, "end"))
        parts.append(_label(left + (i + 0.5) * cell, top - 8, _short(label, cell // 7), "middle"))
        for j, n in enumerate(row):
            share = n / total if total else 0.0
            parts.append(_cell(left + j * cell, y, cell, n, share, right=i == j))
    parts.append(_label(left + size / 2, 16, "The model's answer", "middle", "axis"))
    middle = top + size / 2
    turn = f'transform="rotate(-90 14 {middle})"'
    parts.append(f'<text class="axis" x="14" y="{middle}" text-anchor="middle" {turn}>The truth</text>')
    return _svg(left + size + 8, top + size + 8, parts, title)


def _cell(x: float, y: float, size: int, n: int, share: float, *, right: bool) -> str:
    kind = "right" if right else "wrong"
    strong = " strong" if share > 0.55 else ""
    box = (
        f'<rect class="cell {kind}" x="{x}" y="{y}" width="{size - 2}" height="{size - 2}" fill-opacity="{share:.3f}"/>'
    )
    frame = f'<rect class="frame" x="{x}" y="{y}" width="{size - 2}" height="{size - 2}"/>'
    middle = x + size / 2 - 1
    words = f'<text class="count{strong}" x="{middle}" y="{y + size / 2 + 3}" text-anchor="middle">{n}</text>'
    if size >= 56:
        at = f'x="{middle}" y="{y + size / 2 + 20}"'
        words += f'<text class="tick{strong}" {at} text-anchor="middle">{100 * share:.0f} %</text>'
    return box + frame + words


def _label(x: float, y: float, words: str, anchor: str, kind: str = "legend") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(_short(words, 26))}</text>'


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else words[: max(most - 1, 1)] + "…"


def strips(values: Mapping[str, Sequence[tuple[str, float]]], *, x_title: str, title: str) -> str:
    """One row per label: every case as a dot, the box from the first to the third quartile, the median as a line.

    Args:
        values: by label, (case name, value) pairs; values from 0 to 1.
        x_title: of the axis.
        title: for screen readers.
    """
    lowest = min((v for row in values.values() for _, v in row), default=0.0)
    start = max(0.0, math.floor((lowest - 0.02) * 10) / 10)
    plot = Plot((start, 1.0), (0, 1), width=760, height=62 + 64 * max(len(values), 1))
    plot.left = 40 + min(170, max((7 * len(label) for label in values), default=0))
    for tick in _ticks(start, 1.0):
        px, _ = plot.at(tick, 0)
        plot.parts.append(f'<line class="grid" x1="{px}" x2="{px}" y1="{plot.top}" y2="{plot.bottom}"/>')
        plot.text(px, plot.bottom + 17, _tick_text(tick), anchor="middle")
    plot.text((plot.left + plot.right) / 2, plot.height - 8, x_title, anchor="middle", kind="axis")
    for i, (label, row) in enumerate(values.items()):
        _strip(plot, plot.top + 64 * i + 32, label, row, i)
    return plot.svg(title)


def _strip(plot: Plot, middle: float, label: str, row: Sequence[tuple[str, float]], index: int) -> None:
    plot.text(plot.left - 10, middle + 4, _short(label, 24), anchor="end", kind="legend")
    if not row:
        return
    low, median, high = (plot.at(float(q), 0)[0] for q in np.percentile([v for _, v in row], [25, 50, 75]))
    plot.parts.append(
        f'<rect class="box c{index % 6}" x="{low}" y="{middle - 20}" '
        f'width="{max(high - low, 1):.1f}" height="40" rx="2"/>'
    )
    for n, (name, value) in enumerate(row):
        px, _ = plot.at(value, 0)
        # Spread over the row by the golden ratio: even, and the same each time.
        py = middle + 30 * ((n * 0.618034) % 1 - 0.5)
        hover = f"<title>{escape(name)}: {value:.3f}</title>"
        plot.parts.append(f'<circle class="point c{index % 6}" cx="{px}" cy="{py:.1f}" r="3">{hover}</circle>')
    plot.parts.append(f'<line class="median" x1="{median}" x2="{median}" y1="{middle - 20}" y2="{middle + 20}"/>')


def agreement(
    truth: Sequence[float], prediction: Sequence[float], lines: Mapping[str, float] | None, *, unit: str, title: str
) -> str:
    """With ``lines`` (bias and limits, by name) a Bland–Altman plot; without, prediction against truth."""
    true, predicted = np.asarray(truth, float), np.asarray(prediction, float)
    behind = f" ({unit})" if unit else ""
    if lines is None:
        both = _room(np.concatenate([true, predicted]))
        plot = Plot(both, both)
        plot.axes(f"Truth{behind}", f"Model{behind}")
        plot.line([(both[0], both[0]), (both[1], both[1])], "reference")
        x, y = true, predicted
    else:
        x, y = (true + predicted) / 2, predicted - true
        plot = Plot(_room(x), _room(np.concatenate([y, [*lines.values(), 0.0]])))
        plot.axes(f"Mean of model and truth{behind}", f"Model − truth{behind}")
        plot.line([(plot.x_range[0], 0.0), (plot.x_range[1], 0.0)], "reference")
    for a, b in zip(x.tolist(), y.tolist(), strict=True):
        plot.dot(a, b, 3, "point c0")
    for name, value in (lines or {}).items():
        plot.line([(plot.x_range[0], value), (plot.x_range[1], value)], "curve c1", 'stroke-dasharray="7 3"')
        px, py = plot.at(plot.x_range[1], value)
        plot.text(px - 4, py - 5, f"{name} {value:+.3g}".replace("-", "−"), anchor="end", kind="legend halo")
    return plot.svg(title)


def _room(values: np.ndarray) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    margin = 0.06 * (high - low) or 1.0
    return low - margin, high + margin


def forest(
    rows: Sequence[tuple[str, str, Figure, str]], overall: Figure, *, x_title: str, title: str, percent: bool = False
) -> str:
    """Figures of subgroups with their intervals, under each other; the vertical line is the figure of all cases.

    Args:
        rows: (column, value, figure, words at the right); a new column starts a new block.
        overall: of all cases.
        x_title: of the axis.
        title: for screen readers.
        percent: the figures are shares, shown in per cent.
    """
    scale = 100.0 if percent else 1.0
    known = [b * scale for _, _, f, _ in rows for b in (f.value, f.low, f.high) if b is not None]
    known += [b * scale for b in (overall.value, overall.low, overall.high) if b is not None]
    blocks = len(dict.fromkeys(column for column, *_ in rows))
    plot = Plot(
        _room(np.array(known or [0.0, 1.0])), (0, 1), width=760, height=_BOTTOM + _TOP + 24 * (len(rows) + blocks) + 6
    )
    plot.left, plot.right = 200, 540
    for tick in _ticks(*plot.x_range):
        px, _ = plot.at(tick, 0)
        plot.parts.append(f'<line class="grid" x1="{px}" x2="{px}" y1="{plot.top}" y2="{plot.bottom}"/>')
        plot.text(px, plot.bottom + 17, _tick_text(tick), anchor="middle")
    plot.text((plot.left + plot.right) / 2, plot.height - 8, x_title, anchor="middle", kind="axis")
    if overall.value is not None:
        px, _ = plot.at(overall.value * scale, 0)
        plot.parts.append(f'<line class="overall" x1="{px}" x2="{px}" y1="{plot.top}" y2="{plot.bottom}"/>')
    y, before = plot.top + 4.0, None
    for column, value, figure, words in rows:
        if column != before:
            y, before = y + 24, column
            plot.text(8, y - 4, _short(column, 26), kind="axis start")
        y += 24
        _whisker(plot, y - 8, figure, scale)
        plot.text(22, y - 4, _short(value, 24), kind="legend")
        plot.text(plot.right + 12, y - 4, words, kind="tick")
    return plot.svg(title)


def _whisker(plot: Plot, y: float, figure: Figure, scale: float) -> None:
    if figure.value is None:
        return
    x, _ = plot.at(figure.value * scale, 0)
    kind = "mark c0 hollow"
    if figure.low is not None and figure.high is not None:
        (low, _), (high, _) = plot.at(figure.low * scale, 0), plot.at(figure.high * scale, 0)
        plot.parts.append(f'<line class="curve c0" x1="{low}" x2="{high}" y1="{y}" y2="{y}"/>')
        kind = "mark c0"
    plot.parts.append(f'<circle class="{kind}" cx="{x}" cy="{y}" r="4.5"/>')
