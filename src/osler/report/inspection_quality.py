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
    unusual = sum(case.score > 1 for case in report.cases)
    words = (
        f"Measured without a reference and judged by the other studies of this set, the worst first. {unusual:,} of "
        f"{len(report.cases):,} lie outside of what is usual. The score is how far a study's worst measure lies from "
        "the middle, in widths of what is usual; above 1 it is unusual. Unusual need not mean bad: look at them."
    )
    usual = _usual(report)
    by_name = {case.name: case for case in report.cases}
    tiles = "".join(
        tile_html(wanted, drawn[wanted], words=_words(by_name[wanted.name], usual)) for wanted in worst_of(found)
    )
    return (
        f'<p>{escape(words)}</p><div class="tiles">{tiles}</div>{_ranked(report, usual)}'
        f"<details><summary>What is usual in this set</summary>{_limits(report, usual)}</details>"
    )


def _usual(report: QualityReport) -> dict[str, tuple[float, float]]:
    """The limits of each measure as far as it can reach: no share is below 0, whatever the spread."""
    found = {}
    for measure, limits in report.limits.items():
        seen = [case.measures[measure] for case in report.cases if measure in case.measures]
        found[measure] = (
            limits.low if min(seen) < limits.low else min(seen),
            limits.high if max(seen) > limits.high else max(seen),
        )
    return found


def _words(case: CaseQuality, usual: Mapping[str, tuple[float, float]]) -> str:
    value = case.measures[case.worst]
    return f"{_title(case.worst)} {value:.3g}, usual {_span(usual[case.worst])}; score {case.score:.2f}"


def _title(measure: str) -> str:
    return measure.replace("_", " ")


def _span(limits: tuple[float, float]) -> str:
    return f"{limits[0]:.3g} to {limits[1]:.3g}"


def _ranked(report: QualityReport, usual: Mapping[str, tuple[float, float]]) -> str:
    unusual = [case for case in report.cases if case.score > 1]
    if not unusual:
        return ""
    rows = [
        [
            case.name,
            f"{case.score:.2f}",
            _title(case.worst),
            f"{case.measures[case.worst]:.3g}",
            _span(usual[case.worst]),
        ]
        for case in unusual[:_ROWS]
    ]
    more = len(unusual) - len(rows)
    caption = f"The {len(rows)} worst of {len(unusual)}; all are in inspect.json." if more else ""
    return table(["Study", "Score", "Worst measure", "Value", "Usual"], rows, numeric={1, 3, 4}, caption=caption)


def _limits(report: QualityReport, usual: Mapping[str, tuple[float, float]]) -> str:
    rows = [
        [_title(name), _span(usual[name]), f"{limits.middle:.3g}", MEASURES[name]]
        for name, limits in report.limits.items()
    ]
    return table(["Measure", "Usual", "Middle", "What it is"], rows, numeric={1, 2})
