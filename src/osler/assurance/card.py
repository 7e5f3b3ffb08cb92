"""The model card: Markdown for people who decide whether a model may be used for something."""

from __future__ import annotations

from collections.abc import Mapping

from osler.assurance.results import NOT_A_MEDICAL_DEVICE, Evaluation, Figure
from osler.assurance.wording import Shown, headline_sentences, interval_text, number_text, shown

__all__ = ["model_card"]


def model_card(
    name: str, evaluation: Evaluation | None, *, intended_use: str = "", facts: Mapping[str, str] | None = None
) -> str:
    """Write the card.

    Args:
        name: of the model.
        evaluation: on cases that training and calibration did not see; None when there were none.
        intended_use: what the model is for.
        facts: about training, data and split ("Trained on": "207 volumes of 195 patients").

    Returns:
        Markdown.
    """
    parts = [
        f"# {_plain(name)}",
        f"**{NOT_A_MEDICAL_DEVICE}**",
        "## Intended use",
        _plain(intended_use) or "Not stated.",
    ]
    if facts:
        parts += ["## Training and data", "\n".join(f"- {_plain(k)}: {_plain(v)}" for k, v in facts.items())]
    parts += _measured(evaluation) if evaluation is not None else ["## Performance", "It was not measured."]
    parts += [
        "## Limits",
        "\n".join(f"- {_plain(limit)}" for limit in _limits(evaluation)),
    ]
    return "\n\n".join(parts) + "\n"


def _measured(evaluation: Evaluation) -> list[str]:
    of = f"{evaluation.cases} cases"
    of += _apart(evaluation)
    data = f"of {_plain(evaluation.name)}, " if evaluation.name else ""
    positive = evaluation.positive
    return [
        "## Performance",
        f"Measured {data}on {of}. Intervals are 95 %, by bootstrap over {evaluation.resampled_by}s.",
        "\n".join(f"- {_plain(sentence)}" for sentence in headline_sentences(evaluation)),
        _figures(evaluation),
        *([] if positive is None else [f"Sensitivity, specificity, precision and F1 are those of {_plain(positive)}."]),
        *_labels(evaluation),
    ]


def _apart(evaluation: Evaluation) -> str:
    """How the cases were kept apart from those of training."""
    known = evaluation.resampled_by == "patient"
    if evaluation.split_by == "given":
        whose = f" of {evaluation.patients} patients" if known else ""
        unknown = "" if known else "; it is not known which images belong to one patient"
        return f"{whose} (the split came with the data{unknown})"
    if known:
        return f" of {evaluation.patients} patients, none of whom training or calibration saw"
    return " (split by image: it is not known which images belong to one patient)"


def _figures(evaluation: Evaluation) -> str:
    rows = ["| figure | value | 95 % interval | cases |", "| --- | ---: | ---: | ---: |"]
    for key, entry in shown(evaluation).items():
        figure = evaluation.metrics[key]
        unit = f" {entry.unit}" if entry.unit and figure.value is not None else ""
        value = number_text(figure.value, entry, beside=figure) + unit
        rows.append(f"| {entry.title} | {value} | {interval_text(figure, entry)} | {figure.n} |")
    return "\n".join(rows)


def _labels(evaluation: Evaluation) -> list[str]:
    """The first figure of each label, where there are several."""
    if len(evaluation.per_class) < 2:
        return []
    entries = shown(evaluation)
    first = next(iter(evaluation.per_class.values()))
    keys = [key for key in entries if key in first][:4]
    rows = ["| label | " + " | ".join(entries[key].title for key in keys) + " |", "| --- |" + " ---: |" * len(keys)]
    for label, figures in evaluation.per_class.items():
        cells = [_cell(figures[key], entries[key]) for key in keys]
        rows.append(f"| {_plain(label)} | " + " | ".join(cells) + " |")
    return ["### By label", "\n".join(rows)]


def _cell(figure: Figure, entry: Shown) -> str:
    return f"{number_text(figure.value, entry, beside=figure)} ({interval_text(figure, entry)})"


def _limits(evaluation: Evaluation | None) -> list[str]:
    notes = [] if evaluation is None else list(evaluation.notes)
    return [
        *notes,
        "The figures hold for patients, devices and protocols like those of the data above; elsewhere measure again.",
        "The model answers only the question above; it does not look for anything else.",
    ]


def _plain(words: str) -> str:
    """Words that stay on their line and in their table cell, and make no markup."""
    flat = " ".join(str(words).split())
    return "".join(f"\\{c}" if c in "\\|*_`<>[]#" else c for c in flat)
