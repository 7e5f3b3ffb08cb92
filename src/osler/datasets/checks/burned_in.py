"""Writing and coloured marks in the pixels: they identify patients, and a model may read them instead of the image."""

from __future__ import annotations

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.problem import Problem

__all__ = ["check"]

_REMEDY = "look whether it names a patient; crop or paint it over before sharing the data or training on them"


def check(evidence: Evidence) -> list[Problem]:
    """Boxes of text and of coloured marks, and headers that say that there is text where none was found."""
    problems = []
    text = {name: o.text for name, o in evidence.seen.items() if o.text}
    said = [name for name, o in evidence.seen.items() if o.tags.get("burned-in annotation") == "YES" and not o.text]
    if text or said:
        details = {name: f"{len(boxes)} {'line' if len(boxes) == 1 else 'lines'}" for name, boxes in text.items()}
        details |= dict.fromkeys(said, "not found, but its header says so")
        scores = {name: float(len(boxes)) for name, boxes in text.items()}
        cases = [*text, *said]
        problem = problem_of(
            "text", "warning", "text burned into the pixels", cases, _REMEDY, details=details, scores=scores
        )
        problems.append(problem.model_copy(update={"boxes": text}))
    marks = {name: o.marks for name, o in evidence.seen.items() if o.marks}
    if marks:
        what = "coloured marks or text in otherwise grey pictures"
        problem = problem_of("marks", "warning", what, marks, _REMEDY)
        problems.append(problem.model_copy(update={"boxes": marks}))
    return problems
