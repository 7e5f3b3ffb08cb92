"""The evaluation as one self-contained page, and as JSON beside it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path

from osler.assurance.results import CaseRow, Evaluation
from osler.assurance.sections import by_label, charts, headline, subgroups, table
from osler.assurance.wording import NO_VALUE, headline_sentences, shown
from osler.errors import StorageError, Unsuitable

__all__ = ["document", "page_html", "write_page"]

_WORST_ROWS = 20
_WORST_PATIENTS = 10
_MOST_DICE_COLUMNS = 6
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def write_page(
    evaluation: Evaluation,
    folder: Path,
    *,
    facts: Mapping[str, str] | None = None,
    intended_use: str = "",
    pictures: Mapping[str, bytes] | None = None,
    title: str = "",
) -> Path:
    """Write ``metrics.json`` and ``index.html``; each is replaced in one step.

    Args:
        evaluation: what was measured.
        folder: is made when it does not exist.
        facts: about the model and the data ("Trained on": "207 volumes"), shown as they are.
        intended_use: what the model is for, one or two sentences.
        pictures: PNG bytes by case name, of worst cases.
        title: of the page.

    Returns:
        The path of ``index.html``.

    Raises:
        Unsuitable: when a picture is no PNG.
        StorageError: when the folder cannot be written.
    """
    page = page_html(evaluation, facts=facts, intended_use=intended_use, pictures=pictures, title=title)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in (("metrics.json", evaluation.model_dump_json(indent=1)), ("index.html", page)):
            temporary = folder / f"{name}.partial"
            temporary.write_text(text, encoding="utf-8")
            os.replace(temporary, folder / name)
    except OSError as error:
        raise StorageError.of(error, folder) from error
    return folder / "index.html"


def page_html(
    evaluation: Evaluation,
    *,
    facts: Mapping[str, str] | None = None,
    intended_use: str = "",
    pictures: Mapping[str, bytes] | None = None,
    title: str = "",
) -> str:
    """The page; the arguments are those of ``write_page``.

    Raises:
        Unsuitable: when a picture is no PNG.
    """
    heading = title or f"How well the model does on {evaluation.name or 'these data'}"
    body = [
        f"<h1>{escape(heading)}</h1>",
        _opening(evaluation, intended_use),
        _in_short(evaluation),
        _caveats(evaluation),
        headline(evaluation),
        by_label(evaluation),
        charts(evaluation),
        subgroups(evaluation),
        _worst(evaluation, pictures or {}),
        _patients(evaluation),
        _facts(facts or {}),
        _definitions(evaluation),
        _footer(evaluation),
    ]
    return document(heading, body)


def document(heading: str, body: Sequence[str], *, style: str = "") -> str:
    """A whole page that loads nothing and runs nothing.

    Args:
        heading: the title of the window.
        body: parts of HTML; empty ones are left out.
        style: CSS behind that of all pages.
    """
    style = files("osler.assurance").joinpath("page.css").read_text(encoding="utf-8") + style
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(heading)}</title>\n<style>\n{style}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


def _opening(evaluation: Evaluation, intended_use: str) -> str:
    use = f"<p>{escape(intended_use)}</p>" if intended_use else ""
    number = f"{evaluation.cases} case{'s' if evaluation.cases != 1 else ''}"
    if evaluation.resampled_by == "patient":
        whose = f"{number} of {evaluation.patients} patient{'s' if evaluation.patients != 1 else ''}"
    else:
        whose = f"{number} (which of them are of one patient is not known)"
    data = f" from {escape(evaluation.name)}" if evaluation.name else ""
    return (
        f'{use}<p class="device">{escape(evaluation.not_a_medical_device)}</p>'
        f'<p class="lead">Measured on {whose}{data}. The 95 % intervals say how much a figure could change with other '
        "patients of the same kind; they say nothing about other hospitals, devices or kinds of patients.</p>"
    )


def _in_short(evaluation: Evaluation) -> str:
    sentences = "".join(f"<li>{_flowing(sentence)}</li>" for sentence in headline_sentences(evaluation))
    return f'<h2>In short</h2><div class="short"><ul>{sentences}</ul></div>'


def _flowing(words: str) -> str:
    """Escaped, with "95 %" kept on one line."""
    return escape(words).replace(" %", "\u00a0%")


def _caveats(evaluation: Evaluation) -> str:
    if not evaluation.notes:
        return ""
    notes = "".join(f"<li>{_flowing(note)}</li>" for note in evaluation.notes)
    return f'<h2>What to bear in mind</h2><div class="caveats"><ul>{notes}</ul></div>'


def _worst(evaluation: Evaluation, pictures: Mapping[str, bytes]) -> str:
    if not evaluation.per_case:
        return ""
    shown_pictures = [row for row in evaluation.per_case if row.name in pictures]
    gallery = "".join(_picture(row, pictures[row.name], evaluation) for row in shown_pictures)
    rows = evaluation.per_case[:_WORST_ROWS]
    score = _first_upper(evaluation.score_name)
    columns: dict[str, list[str]] = {
        "Case": [row.name for row in rows],
        "Patient": [row.patient or NO_VALUE for row in rows]
        if any(r.patient not in (None, r.name) for r in rows)
        else [],
        "Truth": [row.answer for row in rows],
        "Model": [row.predicted for row in rows],
        score: [_score_text(row.score) for row in rows],
        **_dice_columns(evaluation, rows),
        "Note": [row.note for row in rows],
    }
    kept = {head: cells for head, cells in columns.items() if any(cells)}
    numeric = {i for i, head in enumerate(kept) if head == score or head.startswith("Dice")}
    caption = f"The worst {len(rows)} of {evaluation.cases}; all are in metrics.json."
    body = list(zip(*kept.values(), strict=True))
    listed = table(list(kept), body, numeric=numeric, caption=caption)
    return f'<h2>Worst cases</h2><div class="pictures">{gallery}</div>{listed}'


def _dice_columns(evaluation: Evaluation, rows: Sequence[CaseRow]) -> dict[str, list[str]]:
    if evaluation.kind != "mask" or not 2 <= len(evaluation.per_class) <= _MOST_DICE_COLUMNS:
        return {}
    return {
        f"Dice: {label}": [_score_text(row.scores.get(f"{label}: dice")) for row in rows]
        for label in evaluation.per_class
    }


def _first_upper(words: str) -> str:
    return words[:1].upper() + words[1:]


def _score_text(score: float | None) -> str:
    if score is None:
        return NO_VALUE
    digits = 0 if score == int(score) and score > 1 else 3 if abs(score) < 10 else 1
    return f"{score:,.{digits}f}".replace("-", "−")


def _picture(row: CaseRow, png: bytes, evaluation: Evaluation) -> str:
    if not png.startswith(b"\x89PNG\r\n\x1a\n"):
        raise Unsuitable(f"the picture of {row.name} is no PNG", remedy="encode it as PNG")
    data = base64.b64encode(png).decode("ascii")
    answer = f"<br>Truth: {escape(row.answer)}. Model: {escape(row.predicted)}." if row.answer else ""
    note = f"<br>{escape(row.note)}" if row.note else ""
    return (
        f'<figure><img alt="{escape(row.name, quote=True)}" src="data:image/png;base64,{data}">'
        f"<figcaption><b>{escape(row.name)}</b>{answer}{note}<br>"
        f"{escape(_first_upper(evaluation.score_name))}: {_score_text(row.score)}</figcaption></figure>"
    )


def _patients(evaluation: Evaluation) -> str:
    rows = evaluation.per_patient[:_WORST_PATIENTS]
    if not rows:
        return ""
    score = f"Mean {evaluation.score_name}"
    body: Sequence[Sequence[str]] = [[row.patient, str(row.cases), _score_text(row.score)] for row in rows]
    caption = f"The worst {len(rows)} of {len(evaluation.per_patient)}; all are in metrics.json."
    return f"<h2>Worst patients</h2>{table(['Patient', 'Cases', score], body, numeric={1, 2}, caption=caption)}"


def _facts(facts: Mapping[str, str]) -> str:
    if not facts:
        return ""
    return f"<h2>The model and the data</h2><dl>{_terms(facts)}</dl>"


def _definitions(evaluation: Evaluation) -> str:
    terms = {entry.title: entry.metric.definition for entry in shown(evaluation).values()}
    terms["95 % interval"] = (
        f"From {evaluation.resamples} resamples: as many {evaluation.resampled_by}s as there are were drawn with "
        "replacement, each with all their cases, and the figure computed again. 95 % of the results lie within. For "
        "shares of 0 and 100 %, which resampling cannot vary, it is the exact binomial interval."
    )
    if evaluation.tolerance is not None:
        terms["Tolerance"] = f"{evaluation.tolerance:g} {evaluation.unit}, for the surface Dice."
    return f"<h2>What the figures mean</h2><dl>{_terms(terms)}</dl>"


def _terms(terms: Mapping[str, str]) -> str:
    return "".join(f"<dt>{escape(str(key))}</dt><dd>{escape(str(value))}</dd>" for key, value in terms.items())


def _footer(evaluation: Evaluation) -> str:
    return (
        f"<footer>{escape(evaluation.not_a_medical_device)} Made by Osler; bootstrap seed {evaluation.seed}. The same "
        "figures in full precision are in metrics.json beside this page.</footer>"
    )
