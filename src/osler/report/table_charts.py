"""Charts of tables as inline SVG, a row per table: spread of a column of numbers, shares of codes, what is missing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from osler.assurance.charts import Plot
from osler.datasets.distributions import Histogram

__all__ = ["missing_map", "shares", "spreads"]

_ROW, _LEFT, _RIGHT = 38, 96, 360
_MOST_PARTS = 6
_AXIS = 36
_LONGEST = 15
_WIDE = 460
_MAP = 760


def spreads(data: Histogram, behind: Mapping[str, str]) -> str:
    """A small histogram per table on one axis, each as high as its fullest bin allows.

    Args:
        data: a series per table.
        behind: words behind a row, by table.
    """
    plot = Plot((data.edges[0], data.edges[-1]), (0.0, 1.0), width=_WIDE, height=46 + _ROW * len(data.counts))
    plot.left, plot.right, plot.top, plot.bottom = _LEFT, _RIGHT, 6, plot.height - 40
    if data.logarithmic:
        _log_axis(plot, data)
    else:
        plot.x_axis(_short(data.name, _AXIS))
    for row, (name, counts) in enumerate(data.counts.items()):
        base = plot.top + _ROW * (row + 1) - 4
        _row_words(plot, base - 8, name, behind.get(name, ""))
        highest = max(counts, default=0) or 1
        for place, count in enumerate(counts):
            if count:
                left, right = _x(plot, data, place), _x(plot, data, place + 1)
                height = max(1.0, (_ROW - 10) * count / highest)
                words = f"{count:,} from {data.edges[place]:.4g} to {data.edges[place + 1]:.4g}"
                _rect(plot, left, base - height, right - left - 0.6, height, f"part c{row % 6}", words)
        plot.parts.append(f'<line class="grid" x1="{plot.left}" x2="{plot.right}" y1="{base}" y2="{base}"/>')
    return plot.svg(f"{data.name} in each table")


def _x(plot: Plot, data: Histogram, place: int) -> float:
    if data.logarithmic:  # bins grow by one factor, so that they are of one width on this axis
        return plot.left + (plot.right - plot.left) * place / (len(data.edges) - 1)
    return plot.at(data.edges[place], 0)[0]


def _log_axis(plot: Plot, data: Histogram) -> None:
    last = len(data.edges) - 1
    for place in (0, last // 2, last):
        edge = data.edges[place]
        words = f"{edge:,.0f}" if edge >= 1000 else f"{edge:.3g}"
        plot.text(_x(plot, data, place), plot.bottom + 17, words, anchor="middle")
    plot.text(
        (plot.left + plot.right) / 2,
        plot.height - 8,
        f"{_short(data.name, _AXIS - 14)} (logarithmic)",
        anchor="middle",
        kind="axis",
    )


def shares(rows: Mapping[str, Mapping[str, int]], *, title: str, behind: Mapping[str, str]) -> str:
    """A bar per table, made of the shares of the values that it holds; rare ones beyond five are put together.

    Args:
        rows: counts by table and value.
        title: for screen readers.
        behind: words behind a row, by table.
    """
    totals: dict[str, int] = {}
    for counts in rows.values():
        for value, count in counts.items():
            totals[value] = totals.get(value, 0) + count
    shown = _ordered(sorted(totals, key=lambda value: -totals[value])[: _MOST_PARTS - (len(totals) > _MOST_PARTS)])
    parts = [*shown, "others"] if len(totals) > len(shown) else shown
    plot = Plot((0.0, 1.0), (0.0, 1.0), width=_WIDE, height=32 + 26 * len(rows))
    plot.left, plot.right = _LEFT, _RIGHT
    step = (_RIGHT - _LEFT) / max(1, len(parts))
    for place, value in enumerate(parts):
        _rect(plot, _LEFT + step * place, 6, 12, 12, f"part c{place % 6}", "")
        plot.text(_LEFT + 17 + step * place, 16, _short(value, int(step / 7) - 3), kind="legend")
    for row, (name, counts) in enumerate(rows.items()):
        y, before, total = 28 + 26 * row, 0, sum(counts.values())
        _row_words(plot, y + 13, name, behind.get(name, ""))
        for place, value in enumerate(parts):
            count = counts.get(value, 0) if value in shown else total - sum(counts.get(one, 0) for one in shown)
            _share_part(plot, (before, count, total), y, f"part c{place % 6}", value)
            before += count
    return plot.svg(title)


def _share_part(plot: Plot, sizes: tuple[int, int, int], y: float, kind: str, value: str) -> None:
    before, count, total = sizes
    if not count:
        return
    width = (_RIGHT - _LEFT) * count / total
    left = _LEFT + (_RIGHT - _LEFT) * before / total
    _rect(plot, left, y, width - 0.6, 18, kind, f"{value}: {count:,} of {total:,}")
    if width > 9 + 7 * len(f"{count:,}"):
        plot.text(left + width / 2, y + 13, f"{count:,}", anchor="middle", kind="strong")


def missing_map(shares_of: Mapping[str, Mapping[str, float]]) -> str:
    """A field per column (across) and table (down), the fuller of colour the more is missing, with the share in %.

    Args:
        shares_of: 0 to 1 by table and column.
    """
    columns = list(next(iter(shares_of.values()), {}))
    wide = max(30.0, min(56.0, (_MAP - _LEFT) / max(1, len(columns))))
    head = 96
    plot = Plot((0, 1), (0, 1), width=round(_LEFT + wide * len(columns) + 60), height=head + 30 * len(shares_of) + 6)
    for place, column in enumerate(columns):
        x = _LEFT + wide * (place + 0.5)
        turned = _short(column, 16)
        plot.parts.append(f'<g transform="translate({x:.1f} {head - 6}) rotate(-42)">')
        plot.text(0, 0, turned, kind="legend")
        plot.parts.append("</g>")
    for row, (name, shares_in) in enumerate(shares_of.items()):
        y = head + 30 * row
        plot.text(_LEFT - 10, y + 18, _short(name, _LONGEST), anchor="end", kind="legend")
        for place, column in enumerate(columns):
            share = shares_in[column]
            x = _LEFT + wide * place
            words = f"{name}, {column}: {100 * share:.1f} % missing"
            _rect(plot, x, y, wide - 2, 28, "frame", words)
            if share > 0:
                _rect(plot, x, y, wide - 2, 28, "part c1", words, opacity=0.12 + 0.88 * share)
                told = "<1" if share < 0.01 else f"{100 * share:.0f}" if share == 1 or share < 0.995 else ">99"
                plot.text(x + wide / 2 - 1, y + 18, told, anchor="middle", kind="strong" if share > 0.6 else "legend")
    return plot.svg("How much is missing in each column of each table, in per cent")


def _ordered(values: Sequence[str]) -> list[str]:
    """Numbers by size, then words by name."""

    def key(value: str) -> tuple[int, float, str]:
        try:
            return 0, float(value), ""
        except ValueError:
            return 1, 0.0, value

    return sorted(values, key=key)


def _row_words(plot: Plot, y: float, name: str, behind: str) -> None:
    plot.text(_LEFT - 10, y, _short(name, _LONGEST), anchor="end", kind="legend")
    plot.text(_RIGHT + 8, y, behind)


def _rect(
    plot: Plot, x: float, y: float, width: float, height: float, kind: str, words: str, *, opacity: float | None = None
) -> None:
    shown = f' style="fill-opacity:{opacity:.2f}"' if opacity is not None else ""
    size = f'width="{max(width, 0.4):.1f}" height="{height:.1f}"'
    hover = f"<title>{escape(words)}</title>" if words else ""
    plot.parts.append(f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" {size}{shown}>{hover}</rect>')


def _short(words: str, most: int) -> str:
    return words if len(words) <= most else words[: max(1, most - 1)] + "…"
