"""The part of an inspection's page that ranks the studies by image quality, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from osler.assurance.sections import table
from osler.datasets.inspection import Inspection
from osler.report.inspection_pictures import Drawn, Wanted

__all__ = ["quality_section"]

_ROWS = 20


def quality_section(found: Inspection, drawn: Mapping[Wanted, Drawn]) -> str:
    """The studies that stand out, with what stands out in them; "" where nothing was measured."""
    told: dict[str, list[tuple[float, str]]] = {}
    for problem in found.problems:
        if problem.code.startswith("quality-"):
            for name in problem.cases:
                words = problem.details.get(name) or problem.code.removeprefix("quality-")
                told.setdefault(name, []).append((problem.scores.get(name, 0.0), words))
    if not told:
        return ""
    ranked = sorted(told.items(), key=lambda item: (-max(score for score, _ in item[1]), item[0]))
    rows = [[name, "; ".join(words for _, words in found)] for name, found in ranked[:_ROWS]]
    more = len(ranked) - len(rows)
    rest = f"<p>{escape(f'and {more} more in inspect.json')}</p>" if more > 0 else ""
    return table(["Study", "What stands out"], rows, numeric=()) + rest
