"""The page of an inspection: what is wrong, what is there, examples, image quality, what would be planned.

One self-contained HTML file: pictures are in it, nothing is loaded, nothing runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files

from osler.assurance.page import document
from osler.assurance.results import NOT_A_MEDICAL_DEVICE
from osler.assurance.sections import table
from osler.datasets.inspection import BUDGET_S, Inspection
from osler.report.inspection_pictures import Drawn, Example, Wanted
from osler.report.inspection_problems import problems_section, tile_html
from osler.report.inspection_quality import quality_section
from osler.report.inspection_there import there_section
from osler.studies.pictures import colour_of

__all__ = ["inspection_page"]


def inspection_page(found: Inspection, examples: Sequence[Example], drawn: Mapping[Wanted, Drawn]) -> str:
    """The page.

    Args:
        found: what was found.
        examples: of the contact sheet.
        drawn: a picture for each of the examples and for those of the problems.
    """
    heading = f"What is in {found.name}, and what is wrong with it"
    sections = {
        "wrong": ("What is wrong", problems_section(found, drawn)),
        "there": ("What is there", there_section(found)),
        "examples": ("Examples", _examples(found, examples, drawn)),
        "quality": ("Image quality", quality_section(found, drawn)),
        "plan": ("What would be planned", _plan(found)),
    }
    shown = {key: (title, html) for key, (title, html) in sections.items() if html}
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in shown.items())
    body = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="device">{escape(NOT_A_MEDICAL_DEVICE)}</p>',
        _lead(found),
        _in_short(found),
        f"<nav>{links}</nav>",
        *(f'<section id="{key}"><h2>{escape(title)}</h2>{html}</section>' for key, (title, html) in shown.items()),
        f"<footer>{escape(NOT_A_MEDICAL_DEVICE)} Made by Osler. The same in full, with every case, is in inspect.json "
        "beside this page.</footer>",
    ]
    style = files("osler.report").joinpath("inspection.css").read_text(encoding="utf-8")
    return document(heading, body, style=style)


def _lead(found: Inspection) -> str:
    if found.patients is None:
        whose = "which of them are of one patient is not known"
    else:
        whose = f"of {found.patients} patient{'s' if found.patients != 1 else ''}"
    cases = f"{found.cases:,} case{'s' if found.cases != 1 else ''}"
    return f'<p class="lead">{cases}, {whose}. Layout: {escape(found.layout)}. Nothing was changed.</p>'


def _in_short(found: Inspection) -> str:
    counts = [f"{n} {severity}{'s' if n != 1 else ''}" for severity, n in found.severities.items() if n]
    unusable = 0 if found.fingerprint is None else len(found.fingerprint.unreadable)
    lines = [f"{', '.join(counts)}." if counts else "No problems were found."]
    lines += [f"{p.what}." for p in found.problems if p.severity == "error"][:5]
    lines += [f"{unusable} training case{'s' if unusable != 1 else ''} cannot be used."] if unusable else []
    if found.plan is None:
        lines.append("A model cannot be trained on it as it is.")
    elif found.severities["error"]:
        lines.append("A model can be trained on it, but resolve the errors first.")
    else:
        lines.append("A model can be trained on it.")
    return f'<div class="short"><ul>{"".join(f"<li>{escape(_upper(line))}</li>" for line in lines)}</ul></div>'


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _examples(found: Inspection, examples: Sequence[Example], drawn: Mapping[Wanted, Drawn]) -> str:
    if not examples:
        return ""
    headings = list(dict.fromkeys(example.heading for example in examples))
    parts = [_example_words(found)]
    for heading in headings:
        tiles = "".join(
            tile_html(example.wanted, drawn[example.wanted], words=example.words)
            for example in examples
            if example.heading == heading
        )
        parts.append(f'<h3>{escape(heading)}</h3><div class="tiles">{tiles}</div>' if heading else _tiles(tiles))
    return "".join(parts)


def _tiles(tiles: str) -> str:
    return f'<div class="tiles">{tiles}</div>'


def _example_words(found: Inspection) -> str:
    volume = found.fingerprint is not None and found.fingerprint.dimensions == 3
    words = ["Volumes are shown in the plane where the label is largest."] if volume and found.kind == "mask" else []
    words += ["L, R, A, P, S, I are the patient's sides; where a file does not say them there are no letters."]
    swatches = ""
    if found.kind == "mask" and found.fingerprint is not None:
        labels = found.fingerprint.labels.names
        swatches = "".join(
            f'<span><i class="swatch" style="background:rgb{colour_of(place)}"></i>{escape(name)}</span>'
            for place, name in enumerate(labels)
        )
    legend = f'<div class="legend">{swatches}</div>' if swatches else ""
    return f"<p>{escape(' '.join(words))}</p>{legend}"


def _plan(found: Inspection) -> str:
    plan = found.plan
    if plan is None:
        return "<p>Nothing can be planned; what is wrong (above) says why.</p>"
    where = "" if plan.grid.spacing is None else " × ".join(f"{s:g}" for s in plan.grid.spacing)
    unit = "mm" if plan.grid.spacing_known else "pixels of the source"
    facts = {
        "Task": plan.task,
        "Network": f"{plan.network.family}, filters {', '.join(map(str, plan.network.features))}",
        "Grid": f"{where} {unit}" if where else f"{' × '.join(map(str, plan.grid.shape or ()))} ({plan.grid.resize})",
        "Patch": f"{' × '.join(map(str, plan.patch))}, {plan.batch} a step",
        "Steps": f"about {plan.steps:,}",
        "Loss": plan.loss.name,
    }
    rows = [[name, value] for name, value in facts.items()]
    reasons = [[field, reason] for field, reason in plan.reasons.items()]
    words = (
        f"A run of {BUDGET_S / 60:.0f} minutes (osler train --budget 15m). Step times come from a cost model and were "
        "not measured on this machine; training measures them and may choose another size."
    )
    return (
        f"<p>{escape(words)}</p>{table(['Decision', 'Value'], rows, numeric=())}"
        f"<h3>Why</h3>{table(['Part of the plan', 'Reason'], reasons, numeric=())}"
    )
