"""Figures in words: how a number is printed, what a key is called, and the sentences that a clinician reads first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from osler.assurance.masks import mask_key
from osler.assurance.results import Evaluation, Figure
from osler.metrics import MaskMetric, Metric, metrics_for

__all__ = [
    "NO_VALUE",
    "Shown",
    "case_noun",
    "headline_sentences",
    "interval_text",
    "number_text",
    "shown",
    "with_interval",
]

NO_VALUE = "–"
_UNITS = {"mm3": "mm³", "mm2": "mm²", "px": "px", "voxels": "voxels", "mo": "months", "a": "years", "d": "days"}


@dataclass(frozen=True)
class Shown:
    """A metric as it is shown for one key: its title here, the unit behind its numbers, and the metric itself."""

    key: str
    title: str
    unit: str
    metric: Metric


def shown(evaluation: Evaluation) -> dict[str, Shown]:
    """By key, how each figure of an evaluation is shown, in the order of the list of metrics."""
    found = {}
    for metric in metrics_for(evaluation.kind):
        if isinstance(metric, MaskMetric):
            keys = [mask_key(metric, unit=unit, dimensions=d) for unit in ("mm", "px") for d in (2, 3)]
        else:
            keys = [metric.name]
        for key in dict.fromkeys(keys):
            if key in evaluation.metrics:
                title = metric.title.replace("Volume", "Area") if key.startswith("area") else metric.title
                found[key] = Shown(key, title, _unit(metric, key, evaluation), metric)
    return found


def _unit(metric: Metric, key: str, evaluation: Evaluation) -> str:
    unit = _UNITS.get(evaluation.unit, evaluation.unit)
    if metric.unit == "answer2":
        return f"{unit}²" if unit else ""
    if metric.unit == "size":
        suffix = key.rsplit("_", 1)[-1]
        return _UNITS.get(suffix, suffix)
    return {"answer": unit, "distance": unit, "percent": "%", "fraction": "%", "grades": "grades"}.get(metric.unit, "")


def number_text(value: float | None, entry: Shown, *, beside: Figure | None = None) -> str:
    """A value without its unit: "95.4" for a fraction of 0.954, "0.990", "−12.4".

    ``beside`` is the figure that it belongs to: a value and its interval are shown to the same digit.
    """
    if value is None:
        return NO_VALUE
    scaled = 100 * value if entry.metric.unit == "fraction" else value
    sign = "+" if entry.metric.better == "zero" and scaled > 0 else ""
    family = [value] if beside is None else [b for b in (beside.value, beside.low, beside.high) if b is not None]
    return f"{sign}{scaled:,.{_decimals(entry, max(map(abs, family)))}f}".replace("-", "−").replace(",", "\u202f")


def _decimals(entry: Shown, size: float) -> int:
    unit = entry.metric.unit
    if unit in ("fraction", "percent"):
        return 1
    if unit == "score":
        return 3
    if unit in ("distance", "grades"):
        return 2
    return 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3


def interval_text(figure: Figure, entry: Shown) -> str:
    """ "93.8 to 96.8", or a dash where there is no interval."""
    if figure.low is None or figure.high is None:
        return NO_VALUE
    return f"{number_text(figure.low, entry, beside=figure)} to {number_text(figure.high, entry, beside=figure)}"


def with_interval(figure: Figure, entry: Shown) -> str:
    """ "95.4 % (95 % interval 93.8 to 96.8)"."""
    if figure.value is None:
        return "undefined"
    unit = f" {entry.unit}" if entry.unit else ""
    return f"{number_text(figure.value, entry, beside=figure)}{unit} {_bracket(interval_text(figure, entry))}"


def _bracket(interval: str) -> str:
    return "(no interval)" if interval == NO_VALUE else f"(95 % interval {interval})"


def case_noun(evaluation: Evaluation) -> str:
    """What one case is called: "patients" where each case is one patient, else "images" or "cases"."""
    if evaluation.resampled_by == "image":
        return "images"
    return "patients" if evaluation.cases == evaluation.patients else "cases"


def headline_sentences(evaluation: Evaluation) -> list[str]:
    """What the model does, in a few sentences, each with its interval."""
    by_kind = {
        "classes": _class_sentences,
        "several": _several_sentences,
        "grades": _grade_sentences,
        "number": _number_sentences,
        "mask": _mask_sentences,
    }
    return by_kind[evaluation.kind](evaluation)


def _per_hundred(figure: Figure, *, rest: bool = False) -> str:
    """ "97 (95 % interval 96 to 99)" of 100; ``rest`` counts the others."""
    if figure.value is None:
        return "an undefined number"
    bounds = [figure.value, figure.low, figure.high]
    value, low, high = ((1 - b if rest else b) if b is not None else None for b in bounds)
    if low is None or high is None:
        return f"{_hundred(value)} (no interval)"
    return f"{_hundred(value)} (95 % interval {_hundred(min(low, high))} to {_hundred(max(low, high))})"


def _hundred(value: float | None) -> str:
    scaled = 100 * (value or 0.0)
    rounded = round(scaled)
    exact = abs(scaled - rounded) < 0.05
    return f"{scaled:.1f}" if rounded in (0, 100) and not exact else f"{rounded}"


def _class_sentences(evaluation: Evaluation) -> list[str]:
    if evaluation.positive is not None:
        return _binary_sentences(evaluation, evaluation.positive)
    noun, metrics = case_noun(evaluation), evaluation.metrics
    sentences = [f"Of 100 {noun} the model gives {_per_hundred(metrics['accuracy'])} the right answer."]
    sentences += [
        f"Of 100 {noun} that are {label}, it recognises {_per_hundred(figures['sensitivity'])}."
        for label, figures in evaluation.per_class.items()
        if figures["sensitivity"].value is not None
    ]
    return [*sentences, *_ranking_and_calibration(evaluation, "one class from the others")]


def _binary_sentences(evaluation: Evaluation, positive: str) -> list[str]:
    noun, metrics = case_noun(evaluation), evaluation.metrics
    share = metrics["sensitivity"].n / evaluation.cases
    found, cleared, right = metrics["sensitivity"], metrics["specificity"], metrics["precision"]
    sentences = [
        f"None of these {noun} has {positive}, so it is not known whether the model would find it."
        if found.value is None
        else f"Of 100 {noun} with {positive}, the model flags {_per_hundred(found)}.",
        f"All of these {noun} have {positive}, so it is not known how often the model flags others."
        if cleared.value is None
        else f"Of 100 {noun} without {positive}, it wrongly flags {_per_hundred(cleared, rest=True)}.",
    ]
    if right.value is not None and right.n and 0 < share < 1:
        sentences.append(
            f"Of 100 {noun} that it flags, {_per_hundred(right)} have {positive}; that holds where "
            f"{100 * share:.0f} of 100 have it, as here, and is lower where it is rarer."
        )
    return [*sentences, *_ranking_and_calibration(evaluation, f"{noun} with {positive} from those without")]


def _ranking_and_calibration(evaluation: Evaluation, what: str) -> list[str]:
    entries, metrics = shown(evaluation), evaluation.metrics
    sentences = []
    if metrics["auc"].value is not None:
        area = with_interval(metrics["auc"], entries["auc"])
        sentences.append(f"It tells {what} with an AUC of {area}; 0.5 is chance, 1 is perfect.")
    ece = metrics["ece"]
    if ece.value is not None:
        points = "less than 1 percentage point" if ece.value < 0.01 else f"{100 * ece.value:.0f} percentage points"
        known = ece.low is not None and ece.high is not None
        span = f" (95 % interval {100 * (ece.low or 0):.0f} to {100 * (ece.high or 0):.0f})" if known else ""
        sentences.append(f"Its probabilities are off by {points}{span} on average.")
    return sentences


def _several_sentences(evaluation: Evaluation) -> list[str]:
    noun = case_noun(evaluation)
    sentences = []
    for label, figures in evaluation.per_class.items():
        if figures["sensitivity"].value is None:
            sentences.append(f"None of these {noun} has {label}.")
            continue
        sentences.append(
            f"Of 100 {noun} with {label}, the model flags {_per_hundred(figures['sensitivity'])}; of 100 without, it "
            f"wrongly flags {_per_hundred(figures['specificity'], rest=True)}."
        )
    return [*sentences, *_ranking_and_calibration(evaluation, "presence from absence, on average over the labels,")]


def _grade_sentences(evaluation: Evaluation) -> list[str]:
    noun, metrics, entries = case_noun(evaluation), evaluation.metrics, shown(evaluation)
    return [
        f"Of 100 {noun} the model gives {_per_hundred(metrics['accuracy'])} exactly the right grade, and "
        f"{_per_hundred(metrics['within_one'])} a grade that is off by one at most.",
        f"It is off by {with_interval(metrics['grade_error'], entries['grade_error'])} on average.",
        f"Its agreement with the truth beyond chance (weighted kappa) is "
        f"{with_interval(metrics['kappa'], entries['kappa'])}; 1 is perfect, 0 is chance.",
    ]


def _number_sentences(evaluation: Evaluation) -> list[str]:
    metrics, entries = evaluation.metrics, shown(evaluation)
    unit = f" {entries['mae'].unit}" if entries["mae"].unit else ""
    low, high = (number_text(metrics[key].value, entries[key]) for key in ("limit_low", "limit_high"))
    sentences = [
        f"The model is off by {with_interval(metrics['mae'], entries['mae'])} on average.",
        f"On the whole its answers differ from the truth by {with_interval(metrics['bias'], entries['bias'])}: above "
        "zero it says too much, below zero too little.",
        f"About 95 of 100 errors lie between {low} and {high}{unit}.",
    ]
    if "coverage" in metrics:
        sentences.append(
            f"The range that it states held the truth in {_per_hundred(metrics['coverage'])} of 100 "
            f"{case_noun(evaluation)}; it is meant to be 95."
        )
    return sentences


def _mask_sentences(evaluation: Evaluation) -> list[str]:
    noun = case_noun(evaluation)
    return [
        f"{label}: none of the {noun} has it, and the model drew none."
        if figures["dice"].value is None
        else f"{label}: {_mask_sentence(evaluation, figures)}{_lost(evaluation, label)}."
        for label, figures in evaluation.per_class.items()
    ]


def _mask_sentence(evaluation: Evaluation, figures: Mapping[str, Figure]) -> str:
    entries, unit, noun = shown(evaluation), evaluation.unit, case_noun(evaluation)
    distance, difference = (next(k for k in entries if part in k) for part in ("hd95", "difference_percent"))
    overlap = with_interval(figures["dice"], entries["dice"])
    words = f"the model's mask overlaps the true one with a Dice of {overlap}"
    if figures[distance].value is None:
        return words
    words += (
        f"; {_percent(figures['nsd'])} of the outline lies within {evaluation.tolerance:g} {unit} of the true one, and "
        f"95 % of each outline within {number_text(figures[distance].value, entries[distance])} {unit} of the other "
        f"(95th percentile Hausdorff distance, mean over the {noun})"
    )
    if figures[difference].value is not None:
        size = "area" if difference.startswith("area") else "volume"
        words += f"; the {size} is off by {number_text(figures[difference].value, entries[difference])} % on average"
    return words


def _lost(evaluation: Evaluation, label: str) -> str:
    states = evaluation.undefined.get(label, {})
    found = [
        f"in {states[state]} of {evaluation.cases} {case_noun(evaluation)} {words}"
        for state, words in (("missed", "it misses it altogether"), ("invented", "it draws one that is not there"))
        if states.get(state)
    ]
    return f"; {' and '.join(found)}" if found else ""


def _percent(figure: Figure) -> str:
    return NO_VALUE if figure.value is None else f"{100 * figure.value:.0f} %"
