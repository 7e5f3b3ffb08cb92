"""The part of an inspection's page that says what is wrong, each problem with its cases, pictures and remedy."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape

from osler.datasets.inspection import Inspection, StudyRow
from osler.datasets.problem import Problem
from osler.report.inspection_pictures import Drawn, Wanted, pictures_of_problem

__all__ = ["png_html", "problems_html", "problems_section", "tile_html"]

_LISTED = 500


def problems_section(found: Inspection, drawn: Mapping[Wanted, Drawn]) -> str:
    """Every problem, errors first."""
    return problems_html(found.problems, drawn, {row.name: _known(row) for row in found.studies})


def problems_html(
    problems: Sequence[Problem], drawn: Mapping[Wanted, Drawn], known: Mapping[str, str], *, unfolded: int = _LISTED
) -> str:
    """Problems with the pictures of their cases.

    Args:
        problems: the worst first.
        drawn: where there are pictures.
        known: what else is known of a case, by name.
        unfolded: lines of cases up to which they are not folded away.
    """
    if not problems:
        return "<p>No problems were found.</p>"
    return "".join(_problem(problem, drawn, known, unfolded) for problem in problems)


def _known(row: StudyRow) -> str:
    """The split and the answer of a case, unless its name says the answer."""
    answer = "" if row.answer.lower() in row.name.lower() else row.answer
    return "; ".join(word for word in (row.split, answer) if word)


def _problem(problem: Problem, drawn: Mapping[Wanted, Drawn], known: Mapping[str, str], unfolded: int) -> str:
    remedy = f"<p><b>What to do:</b> {escape(problem.remedy)}.</p>" if problem.remedy else ""
    badge = f'<span class="badge">{problem.severity}</span>'
    pictures = _pictures(problem, drawn, known)
    folded = bool(pictures) or len(problem.groups or problem.cases) > unfolded
    parts = [remedy, _figures(problem), pictures, _cases(problem, known, folded=folded)]
    return (
        f'<article class="problem {problem.severity}"><h3>{badge}'
        f"{escape(problem.what[:1].upper() + problem.what[1:])}</h3>{''.join(parts)}</article>"
    )


def _figures(problem: Problem) -> str:
    listed = ", ".join(f"{name} {value:.3g}" for name, value in problem.figures.items())
    return f"<p>{escape(listed)}</p>" if listed else ""


def _pictures(problem: Problem, drawn: Mapping[Wanted, Drawn], known: Mapping[str, str]) -> str:
    groups = [
        [tile_html(one, drawn[one], words=_words(problem, one.name, known)) for one in group if _shown(one, drawn)]
        for group in pictures_of_problem(problem)
    ]
    if not any(groups):
        return ""
    together = len(problem.groups) > 0
    parts = [f'<div class="together">{"".join(t)}</div>' if together else "".join(t) for t in groups if t]
    return f'<div class="tiles">{"".join(parts)}</div>'


def _shown(wanted: Wanted, drawn: Mapping[Wanted, Drawn]) -> bool:
    return wanted in drawn and drawn[wanted].png is not None


def _words(problem: Problem, name: str, known: Mapping[str, str]) -> str:
    return "; ".join(word for word in (known.get(name, ""), problem.details.get(name, "").rstrip(".")) if word)


def _cases(problem: Problem, known: Mapping[str, str], *, folded: bool) -> str:
    """All of them, those that belong together on one line; folded away where pictures stand for them, or many."""
    if not problem.cases:
        return ""
    units = problem.groups or tuple((name,) for name in problem.cases)
    lines = [" = ".join(_case(problem, name, known) for name in unit) for unit in units]
    more = len(lines) - _LISTED
    items = "".join(f"<li>{line}</li>" for line in lines[:_LISTED])
    rest = f"<p>and {more:,} more in inspect.json</p>" if more > 0 else ""
    told = ' class="told"' if problem.details or problem.groups else ""
    noun = "case" if len(problem.cases) == 1 else "cases"
    state = "" if folded else " open"
    head = f"<details{told}{state}><summary>{len(problem.cases):,} {noun}</summary>"
    return f"{head}<ul>{items}</ul>{rest}</details>"


def _case(problem: Problem, name: str, known: Mapping[str, str]) -> str:
    words = _words(problem, name, known)
    return escape(name) + (f" ({escape(words)})" if words else "")


def tile_html(wanted: Wanted, drawn: Drawn, *, words: str = "") -> str:
    """One picture with its name, what it stands for, and how it is to be read."""
    lines: Sequence[str] = [f"<b>{escape(wanted.name)}</b>", escape(words), escape(drawn.notes if drawn.png else "")]
    caption = "<br>".join(line for line in lines if line)
    picture = png_html(drawn.png, wanted.name) if drawn.png else f'<div class="missing">{escape(drawn.notes)}</div>'
    return f"<figure>{picture}<figcaption>{caption}</figcaption></figure>"


def png_html(png: bytes, words: str) -> str:
    """A picture that lies in the page itself."""
    data = base64.b64encode(png).decode("ascii")
    return f'<img loading="lazy" alt="{escape(words, quote=True)}" src="data:image/png;base64,{data}">'
