"""From metrics and answers to figures with intervals: of all cases, by label, and by subgroup."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from osler.assurance.cohort import SMALLEST_GROUP, Cohort, subgroups_of
from osler.assurance.results import Figure
from osler.metrics import CaseMetric, Kind, LabelMetric, NumberMetric, metrics_for
from osler.metrics.answers import Answers, NumberAnswers
from osler.metrics.bootstrap import Interval, bootstrap, exact_bound
from osler.studies.geometry import Array

__all__ = [
    "Drawing",
    "Quantity",
    "common_notes",
    "figures_of",
    "label_quantities",
    "number_quantities",
    "per_label_figures",
    "subgroup_figures",
]

_FEW_PATIENTS = 20


@dataclass(frozen=True)
class Drawing:
    """How resamples are drawn."""

    seed: int
    resamples: int


@dataclass(frozen=True)
class Quantity:
    """Something to put an interval on: ``key``, ``compute(counts (B, N)) -> (B,)``, the cases in its denominator (N,),
    and whether it is the share of those cases in which something is so."""

    key: str
    compute: Callable[[Array], Array]
    counted: Array
    share: bool = False


def figures_of(
    quantities: Sequence[Quantity], groups: Sequence[str], drawing: Drawing, *, smallest: int = 2
) -> dict[str, Figure]:
    """The figure of each quantity.

    Args:
        quantities: over the same N cases.
        groups: (N,) what is resampled.
        drawing: of the resamples.
        smallest: with fewer patients there is no interval.
    """
    if not quantities:
        return {}

    def statistic(counts: Array) -> Array:
        return np.stack([quantity.compute(counts) for quantity in quantities], axis=1)

    if len(set(groups)) < smallest:
        values = statistic(np.ones((1, len(groups))))[0]
        intervals = [Interval(float(value), None, None) for value in values]
    else:
        intervals = bootstrap(statistic, groups, resamples=drawing.resamples, seed=drawing.seed)
    return {q.key: _figure(q, i, groups) for q, i in zip(quantities, intervals, strict=True)}


def _figure(quantity: Quantity, interval: Interval, groups: Sequence[str]) -> Figure:
    counted = np.flatnonzero(quantity.counted)
    patients = len({groups[int(i)] for i in counted})
    value = None if np.isnan(interval.value) else interval.value
    low, high = interval.low, interval.high
    method = "none" if low is None else "bootstrap"
    if quantity.share and value in (0.0, 1.0) and low is not None and patients:
        low, high = exact_bound(value, patients)
        method = "exact"
    return Figure.model_validate(
        {
            "value": value,
            "low": low,
            "high": high,
            "n": len(counted),
            "patients": patients,
            "n_undefined": interval.n_undefined,
            "method": method,
        }
    )


def label_quantities(kind: Kind, answers: Answers) -> list[Quantity]:
    """The headline quantities of classes, several labels and grades."""
    everyone = np.asarray(answers.known.any(axis=1))
    found = []
    for metric in metrics_for(kind):
        share = metric.unit == "fraction"
        if isinstance(metric, CaseMetric):
            # Balanced accuracy is a mean of shares, and so is any share of several labels: no binomial bound fits.
            share = share and metric.name != "balanced_accuracy" and answers.truth is not None
            found.append(Quantity(metric.name, _bind(metric, answers), everyone, share))
        elif isinstance(metric, LabelMetric):
            single = answers.positive_label
            counted = everyone if single is None or metric.overall else np.asarray(metric.counted(answers)[:, single])
            found.append(Quantity(metric.name, _bind(metric, answers), counted, share and single is not None))
    return found


def per_label_figures(
    kind: Kind, answers: Answers, names: Sequence[str], groups: Sequence[str], drawing: Drawing
) -> dict[str, dict[str, Figure]]:
    """The figures of each label against the rest."""
    quantities = []
    for metric in metrics_for(kind):
        if isinstance(metric, LabelMetric):
            counted, share = metric.counted(answers), metric.unit == "fraction"
            quantities += [
                Quantity(f"{metric.name}\0{name}", _column(metric, answers, i), counted[:, i], share)
                for i, name in enumerate(names)
            ]
    found: dict[str, dict[str, Figure]] = {name: {} for name in names}
    for key, figure in figures_of(quantities, groups, drawing).items():
        metric_name, name = key.split("\0")
        found[name][metric_name] = figure
    return found


def _bind(metric: CaseMetric | LabelMetric, answers: Answers) -> Callable[[Array], Array]:
    return lambda counts: metric.compute(answers, counts)


def _column(metric: LabelMetric, answers: Answers, label: int) -> Callable[[Array], Array]:
    one = answers.only(label)
    return lambda counts: np.asarray(metric.compute_labels(one, counts)[:, 0])


def number_quantities(answers: NumberAnswers) -> list[Quantity]:
    """The headline quantities of a number; coverage only where a range was stated."""
    everyone = np.ones(len(answers), bool)
    metrics = [m for m in metrics_for("number") if isinstance(m, NumberMetric)]
    kept = [m for m in metrics if m.name != "coverage" or answers.half_width is not None]
    return [Quantity(m.name, _bind_number(m, answers), everyone, m.unit == "fraction") for m in kept]


def _bind_number(metric: NumberMetric, answers: NumberAnswers) -> Callable[[Array], Array]:
    return lambda counts: metric.compute(answers, counts)


def subgroup_figures(
    cohort: Cohort, quantities: Callable[[Array], Sequence[Quantity]], drawing: Drawing
) -> tuple[dict[str, dict[str, dict[str, Figure]]], list[str]]:
    """The headline figures of each subgroup.

    Args:
        cohort: N cases.
        quantities: from the cases of a subgroup, (N,) bool, to its quantities.
        drawing: of the resamples.

    Returns:
        Figures by column and value, and notes.
    """
    columns, notes = subgroups_of(cohort)
    found: dict[str, dict[str, dict[str, Figure]]] = {}
    small = []
    for column, values in columns.items():
        found[column] = {}
        for value, cases in values.items():
            groups = cohort.take(cases).groups
            found[column][value] = figures_of(quantities(cases), groups, drawing, smallest=SMALLEST_GROUP)
            if len(set(groups)) < SMALLEST_GROUP:
                small.append(f"{column} = {value}")
    if small:
        notes.append(
            f"Subgroups of fewer than {SMALLEST_GROUP} patients are shown without an interval and say little: "
            f"{', '.join(small)}."
        )
    return found, notes


def common_notes(cohort: Cohort, metrics: Mapping[str, Figure], resamples: int) -> list[str]:
    """What a reader must know whatever the task is."""
    notes = []
    number = cohort.group_count
    if cohort.split_by == "given":
        notes.append("The split came with the data and was kept as it is; Osler did not choose it.")
    if cohort.resampled_by == "image":
        begin = "It" if cohort.split_by == "given" else "Split by image: it"
        notes.append(
            f"{begin} is not known which images belong to one patient, so the same patient may be on both sides of the "
            "split, figures may be too good and intervals too narrow."
        )
    if number == 1:
        notes.append("All cases are of one patient: there are no intervals, and the figures say nothing about others.")
    elif number < _FEW_PATIENTS:
        notes.append(
            f"There are only {number} {_noun(cohort)}: the intervals are rough and the figures may change a lot."
        )
    exact = [key for key, figure in metrics.items() if figure.method == "exact"]
    if exact:
        notes.append(f"Nothing varies in {', '.join(exact)}: the interval is the exact binomial one over patients.")
    undefined = {key: f.n_undefined for key, f in metrics.items() if f.n_undefined}
    if undefined:
        listed = ", ".join(f"{key} in {n}" for key, n in undefined.items())
        notes.append(f"Of {resamples} resamples these were undefined and left out: {listed}.")
    return notes


def _noun(cohort: Cohort) -> str:
    return "patients" if cohort.resampled_by == "patient" else "images"
