"""Charts of an inspection as inline SVG: histograms, and bars that count cases by label and split."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from osler.assurance.charts import Plot
from osler.datasets.distributions import Histogram

__all__ = ["histogram", "label_bars"]

_HEIGHT = 250
_TOWERING = 3.0
_ROW = 26
_SHOWN = 26


def histogram(data: Histogram, *, x_title: str, title: str) -> str:
    """The first series as bars, the second as a line; intensities in per cent of their series, cases as counts.

    Args:
        data: at most two series.
        x_title: of the axis; the unit is put behind it.
        title: for screen readers.
    """
    shares = data.quantity == "intensity"
    series = {name: _heights(counts, shares=shares) for name, counts in data.counts.items()}
    edges = [math.log10(edge) for edge in data.edges] if data.logarithmic else list(data.edges)
    plot = Plot((edges[0], edges[-1]), (0.0, _ceiling(list(series.values()))), height=_HEIGHT)
    _x_axis(plot, f"{x_title} ({data.unit})" if data.unit else x_title, logarithmic=data.logarithmic)
    plot.y_axis("% of values" if shares else "Cases")
    for place, heights in enumerate(series.values()):
        if place == 0:
            _bars(plot, data, edges, heights)
        else:
            plot.line([(x, min(y, plot.y_range[1])) for x, y in _outline(edges, heights)], "curve c1")
    if len(series) > 1:
        _legend(plot, list(series))
    return plot.svg(title)


def _ceiling(series: Sequence[Sequence[float]]) -> float:
    """The highest value of the axis: a single bin that towers over the others (background) is cut off."""
    ranked = sorted((height for heights in series for height in heights), reverse=True)
    if len(ranked) > 1 and ranked[0] > _TOWERING * ranked[1] > 0:
        return 1.5 * ranked[1]
    return 1.06 * (ranked[0] if ranked else 0.0) or 1.0


def _heights(counts: Sequence[int], *, shares: bool) -> list[float]:
    total = sum(counts) or 1
    return [100 * count / total if shares else float(count) for count in counts]


def _x_axis(plot: Plot, title: str, *, logarithmic: bool) -> None:
    if not logarithmic:
        plot.x_axis(title)
        return
    low, high = plot.x_range
    decades = range(math.floor(low), math.ceil(high) + 1)
    steps = (1, 2, 5) if high - low < 2.5 else (1,)
    ticks = [(math.log10(step) + decade, step * 10.0**decade) for decade in decades for step in steps]
    plot.x_axis(title, ticks=[(at, f"{value:,g}") for at, value in ticks if low <= at <= high])


def _bars(plot: Plot, data: Histogram, edges: Sequence[float], heights: Sequence[float]) -> None:
    unit = " %" if data.quantity == "intensity" else ""
    highest = plot.y_range[1]
    counts = next(iter(data.counts.values()))
    for place, height in enumerate(heights):
        if height:
            hover = f"{counts[place]:,} from {data.edges[place]:.4g} to {data.edges[place + 1]:.4g}"
            plot.box(edges[place], edges[place + 1], 0.0, min(height, highest), "histogram", hover)
        if height > highest:
            px, py = plot.at(edges[place + 1], highest)
            late = px > (plot.left + plot.right) / 2
            x = plot.at(edges[place], 0)[0] - 4 if late else px + 4
            plot.text(x, py + 11, f"this bar: {height:,.0f}{unit}", anchor="end" if late else "start")


def _outline(edges: Sequence[float], heights: Sequence[float]) -> list[tuple[float, float]]:
    points = [(edges[0], 0.0)]
    for place, height in enumerate(heights):
        points += [(edges[place], height), (edges[place + 1], height)]
    return [*points, (edges[-1], 0.0)]


def _legend(plot: Plot, names: Sequence[str]) -> None:
    x, y = plot.right - 132, plot.top + 14
    plot.parts.append(f'<rect class="histogram" x="{x}" y="{y - 9}" width="14" height="10"/>')
    plot.text(x + 20, y, names[0], kind="legend")
    plot.parts.append(f'<line class="curve c1" x1="{x}" x2="{x + 14}" y1="{y + 13}" y2="{y + 13}"/>')
    plot.text(x + 20, y + 17, names[1], kind="legend")


def label_bars(classes: Mapping[str, Mapping[str, int]], *, title: str) -> str:
    """Cases by label, each bar made of the splits; the number behind it is their sum.

    Args:
        classes: counts by split and label.
        title: for screen readers.
    """
    splits = list(classes)
    labels = list(next(iter(classes.values()), {}))
    totals = {label: sum(classes[split][label] for split in splits) for label in labels}
    top = 30 if len(splits) > 1 else 4
    plot = Plot((0.0, float(max(totals.values(), default=0) or 1)), (0.0, 1.0), width=760, height=0)
    plot.height, plot.left, plot.right = top + _ROW * len(labels) + 4, 210, 680
    for place, split in enumerate(splits if len(splits) > 1 else ()):
        plot.parts.append(f'<rect class="part c{place % 6}" x="{210 + 130 * place}" y="6" width="14" height="12"/>')
        plot.text(230 + 130 * place, 16, split, kind="legend")
    for row, label in enumerate(labels):
        y, before = top + _ROW * row, 0
        shown = label if len(label) <= _SHOWN else label[: _SHOWN - 1] + "…"
        plot.text(plot.left - 10, y + 16, shown, anchor="end", kind="legend")
        for place, split in enumerate(splits):
            count = classes[split][label]
            (left, _), (right, _) = plot.at(before, 0), plot.at(before + count, 0)
            shape = f'x="{left}" y="{y + 3}" width="{right - left:.1f}" height="{_ROW - 8}"'
            plot.parts.append(f'<rect class="part c{place % 6}" {shape}><title>{split}: {count}</title></rect>')
            before += count
        plot.text(plot.at(before, 0)[0] + 7, y + 16, f"{before:,}", kind="tick")
    return plot.svg(title)
