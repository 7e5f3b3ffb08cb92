"""The part of an inspection's page that ranks the studies by image quality, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from osler.assurance.sections import table
from osler.datasets.checks.quality import CaseQuality, QualityReport
from osler.datasets.inspection import Inspection
from osler.report.inspection_pictures import Drawn, Wanted, worst_of
from osler.report.inspection_problems import tile_html
from osler.studies.quality.measures import MEASURES

__all__ = ["quality_section"]

_ROWS = 20


def quality_section(found: Inspection, drawn: Mapping[Wanted, Drawn]) -> str:
    """Pictures of the worst studies, a table of them, and what is usual in this set; "" where nothing was measured."""
    report = found.quality
    if report is None or not report.cases:
        return ""
    if not report.limits:
        return "<p>There are too few studies to learn what is usual among them.</p>"
    unusual = [case for case in report.cases if case.score > 1]
    words = (
        f"Measured without a reference and judged by the other studies of this set: {len(unusual):,} of "
        f"{len(report.cases):,} lie outside of what is usual. The score is how far a study's worst measure lies from "
        "the middle, in widths of what is usual; above 1 it is unusual. Unusual need not mean bad: look at them."
    )
    by_name = {case.name: case for case in unusual}
    tiles = "".join(
        tile_html(wanted, drawn[wanted], words=_words(by_name[wanted.name], report)) for wanted in worst_of(found)
    )
    return (
        f'<p>{escape(words)}</p><div class="tiles">{tiles}</div>{_ranked(unusual, report)}<h3>What is usual</h3>'
        f"{_limits(report)}"
    )


def _words(case: CaseQuality, report: QualityReport) -> str:
    limits = report.limits[case.worst]
    value = case.measures[case.worst]
    return f"{_title(case.worst)} {value:.3g}, usual {limits.low:.3g} to {limits.high:.3g}; score {case.score:.1f}"


def _title(measure: str) -> str:
    return measure.replace("_", " ")


def _ranked(unusual: list[CaseQuality], report: QualityReport) -> str:
    """The rest of the ranking, after those that are shown as pictures too."""
    if not unusual:
        return ""
    rows = [
        [case.name, f"{case.score:.2f}", _title(case.worst), f"{case.measures[case.worst]:.3g}", _usual(case, report)]
        for case in unusual[:_ROWS]
    ]
    more = len(unusual) - len(rows)
    caption = f"The {len(rows)} worst of {len(unusual)}; all are in inspect.json." if more else ""
    return table(["Study", "Score", "Worst measure", "Value", "Usual"], rows, numeric={1, 3, 4}, caption=caption)


def _usual(case: CaseQuality, report: QualityReport) -> str:
    limits = report.limits[case.worst]
    return f"{limits.low:.3g} to {limits.high:.3g}"


def _limits(report: QualityReport) -> str:
    rows = [
        [_title(name), f"{limits.low:.3g}", f"{limits.middle:.3g}", f"{limits.high:.3g}", MEASURES[name]]
        for name, limits in report.limits.items()
    ]
    return table(["Measure", "Low", "Middle", "High", "What it is"], rows, numeric={1, 2, 3})
