"""The page of an inspection of tables: what is wrong, what is missing, the balance of the answers, every column.

One self-contained HTML file, as that of images.
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from osler.assurance.page import document
from osler.assurance.results import NOT_A_MEDICAL_DEVICE
from osler.assurance.sections import table
from osler.datasets.distributions import Histogram
from osler.datasets.inspection import problem_lines
from osler.datasets.tables.inspection import TableInspection, marks_words, numbers_words
from osler.datasets.tables.rows import ColumnRow, TableGroup, TableRow
from osler.report.inspection_problems import problems_html
from osler.report.table_charts import missing_map, shares, spreads

__all__ = ["table_page"]

_MOST_CHARTS = 60
_MOST_ACROSS = 24
_MOST_ROWS = 30
_UNFOLDED = 8
_STYLE = (
    ".columns { display: grid; gap: 1.4rem 2rem; "
    "grid-template-columns: repeat(auto-fit, minmax(min(26rem, 100%), 1fr)); }"
    ".columns figure { min-width: 0; } .columns h3 { margin: .2rem 0; overflow-wrap: anywhere; }"
    " .columns .kind { color: var(--soft); font-weight: 400; }"
    "details.told ul { columns: 22rem; } li { break-inside: avoid; }"
    ".missing-map svg { min-width: 44rem; max-width: 60rem; }"
    "@media print { .columns { grid-template-columns: 1fr 1fr; } }"
)


def table_page(found: TableInspection) -> str:
    """The page."""
    heading = f"What is in {found.name}, and what is wrong with it"
    sections = {
        "wrong": ("What is wrong", problems_html(found.problems, {}, {}, unfolded=_UNFOLDED)),
        "there": ("What is there", _there(found)),
        "missing": ("What is missing", "".join(_missing(found, group) for group in found.groups)),
        "answers": ("The answers in each table", _answers(found)),
        "columns": ("Every column", "".join(_columns(found, group) for group in found.groups)),
    }
    sections = {key: entry for key, entry in sections.items() if entry[1]}
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in sections.items())
    body = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="device">{escape(NOT_A_MEDICAL_DEVICE)}</p>',
        f'<p class="lead">{escape(found.text[:1].upper() + found.text[1:])}. Nothing was changed.</p>',
        f'<div class="short"><ul><li>{_counted(found)}</li><li>No model reads tables yet: they can be looked at, and '
        "nothing is planned.</li></ul></div>",
        f"<nav>{links}</nav>",
        *(f'<section id="{key}"><h2>{escape(title)}</h2>{html}</section>' for key, (title, html) in sections.items()),
        f"<footer>{escape(NOT_A_MEDICAL_DEVICE)} Made by Osler. The same in full is in inspect.json beside this page."
        "</footer>",
    ]
    style = files("osler.report").joinpath("inspection.css").read_text(encoding="utf-8")
    return document(heading, body, style=style + _STYLE)


def _counted(found: TableInspection) -> str:
    """ "3 errors, 8 warnings": the first line of what a terminal shows."""
    return escape(problem_lines(found.problems, 1)[0]) + "."


def _there(found: TableInspection) -> str:
    head = ["Table", "File", "Rows", "Columns", "Missing", "Written as"]
    rows = [
        [row.name, row.file, f"{row.rows:,}", str(len(row.columns)), _percent(row.missing), _marks(row)]
        for row in found.tables
    ]
    return table(head, rows, numeric={2, 3, 4})


def _marks(row: TableRow) -> str:
    return ", ".join(dict.fromkeys(mark for column in row.columns for mark in column.marks)) or "–"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %" if share else "–"


def _tables(found: TableInspection, group: TableGroup) -> list[TableRow]:
    by_name = {row.name: row for row in found.tables}
    return [by_name[name] for name in group.tables[:_MOST_ROWS]]


def _absent(column: ColumnRow) -> float:
    return (column.missing + column.suspected) / max(1, column.rows)


def _missing(found: TableInspection, group: TableGroup) -> str:
    """The map; columns without a gap are left out where there are many."""
    tables = _tables(found, group)
    if not any(_absent(column) for column in group.columns):
        return f"<p>No cell of {escape(_listed(group))} is missing.</p>"
    names = [column.name for column in group.columns]
    if len(names) > _MOST_ACROSS:
        worst = sorted(group.columns, key=lambda column: -_absent(column))[:_MOST_ACROSS]
        names = [column.name for column in worst]
    places = {column.name: place for place, column in enumerate(group.columns)}
    field = {row.name: {name: _absent(row.columns[places[name]]) for name in names} for row in tables}
    caption = "Per cent of the cells of each column that are missing; numbers that seem to stand for missing count too."
    more = f" The {_MOST_ACROSS} columns with the largest gaps." if len(group.columns) > _MOST_ACROSS else ""
    drawn = f'<div class="scroll">{missing_map(field)}</div>'
    return f'<figure class="missing-map">{drawn}<figcaption>{caption}{more}</figcaption></figure>'


def _listed(group: TableGroup) -> str:
    return ", ".join(group.tables[:4]) + (" ..." if len(group.tables) > 4 else "")


def _answers(found: TableInspection) -> str:
    parts = []
    for group in found.groups:
        rows = {row.name: row.answers for row in _tables(found, group) if row.answers}
        if rows:
            behind = {name: f"{sum(counts.values()):,} rows" for name, counts in rows.items()}
            svg = shares(rows, title=f"{group.answer} in each table", behind=behind)
            caption = f"{group.answer}: the share of each answer, with the number of rows."
            parts.append(f'<figure class="small">{svg}<figcaption>{escape(caption)}</figcaption></figure>')
    return "".join(parts)


def _columns(found: TableInspection, group: TableGroup) -> str:
    tables = _tables(found, group)
    charts = {histogram.name: histogram for histogram in group.histograms}
    drawn = [
        _figure(column, [row.columns[place] for row in tables], tables, charts.get(column.name))
        for place, column in enumerate(group.columns)
        if column.kind in ("number", "code")
    ]
    hidden = len(drawn) - _MOST_CHARTS
    more = f"<p>{hidden} charts more are left out.</p>" if hidden > 0 else ""
    title = f"<h3>{escape(_listed(group))}</h3>" if len(found.groups) > 1 else ""
    return f'{title}<div class="columns">{"".join(drawn[:_MOST_CHARTS])}</div>{more}{_details(group, tables)}'


def _figure(
    column: ColumnRow, alike: Sequence[ColumnRow], tables: Sequence[TableRow], histogram: Histogram | None
) -> str:
    names = [row.name for row in tables]
    behind = {name: _behind(one) for name, one in zip(names, alike, strict=True)}
    if histogram is not None:
        kept = {name: counts for name, counts in histogram.counts.items() if name in behind}
        svg = spreads(histogram.model_copy(update={"counts": kept}), behind)
        words = numbers_words(column)
    else:
        counts = {name: one.values for name, one in zip(names, alike, strict=True)}
        svg = shares(counts, title=f"{column.name} in each table", behind=behind)
        words = f"{column.distinct} codes"
    head = f'<h3>{escape(column.name)} <span class="kind">{escape(words)}</span></h3>'
    outside = f"<figcaption>{histogram.outside} beyond the axis</figcaption>" if histogram and histogram.outside else ""
    return f"<figure>{head}{svg}{outside}</figure>"


def _behind(column: ColumnRow) -> str:
    share = _absent(column)
    return "" if share == 0 else f"{100 * share:.0f} % missing" if share >= 0.01 else "<1 % missing"


def _details(group: TableGroup, tables: Sequence[TableRow]) -> str:
    head = ["Column", "Kind", "Missing", "Written as", "No number", "Values", "Range"]
    rows = [_detail(column, column.name) for column in group.columns]
    everything = table(head, rows, numeric={2, 4, 5})
    if len(tables) == 1:
        return f"<details><summary>Every column in figures</summary>{everything}</details>"
    single = [_detail(column, f"{row.name}: {column.name}") for row in tables for column in row.columns][:1000]
    told = f"<details><summary>Every column of each table in figures</summary>{table(head, single, numeric={2, 4, 5})}"
    return f"<details><summary>Every column in figures</summary>{everything}</details>{told}</details>"


def _detail(column: ColumnRow, name: str) -> list[str]:
    absent = _percent(_absent(column))
    values = f"{column.distinct:,}" if column.known else "–"
    wrong = str(column.wrong or "–")
    return [name, column.kind, absent, marks_words(column) or "–", wrong, values, numbers_words(column)]
