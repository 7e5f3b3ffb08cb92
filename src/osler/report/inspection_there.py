"""The part of an inspection's page that says what is there: counts, shapes, spacings, intensities, labels."""

from __future__ import annotations

from html import escape

from osler.assurance.sections import table
from osler.datasets.distributions import Quantity
from osler.datasets.fingerprint import Fingerprint
from osler.datasets.inspection import Inspection, size_words, spacing_words
from osler.report.inspection_charts import histogram, label_bars

__all__ = ["there_section"]

_TITLES: dict[Quantity, str] = {
    "intensity": "Intensities of {}",
    "shape": "Size, {}",
    "spacing": "Spacing, {}",
    "size": "Size of {}",
    "answer": "{}",
}
_AXES: dict[Quantity, str] = {"intensity": "Intensity", "shape": "Size", "spacing": "Spacing", "size": "Size"}
_MOST_CHARTS = 24
_MOST_BARS = 30


def there_section(found: Inspection) -> str:
    """Counts by split, facts of the images, labels, and histograms of all that varies."""
    return _facts(found) + _counts(found) + _labels(found) + _histograms(found)


def _facts(found: Inspection) -> str:
    print_ = found.fingerprint
    if print_ is None:
        return ""
    facts = {
        "Kind": f"{print_.dimensions}D {print_.modality}".strip() + (", colour" if print_.colours == 3 else ""),
        "Size": size_words(print_),
        "Spacing": spacing_words(print_, found.studies) or "not known: the files do not say how large a pixel is",
        "Orientation": ", ".join(f"{codes} ({n})" for codes, n in print_.orientations.items()) or "not known",
        "Formats": ", ".join(sorted({row.format for row in found.studies if row.format})),
        **_intensities(print_),
    }
    terms = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts.items() if value)
    return f"<dl>{terms}</dl>"


def _intensities(print_: Fingerprint) -> dict[str, str]:
    return {
        f"Intensities of {c.name}": f"{_short(c.minimum)} to {_short(c.maximum)} {print_.units}".rstrip()
        + f", median {_short(c.percentile_50)}, 99 % within {_short(c.percentile_00_5)} to {_short(c.percentile_99_5)}"
        for c in print_.channels
    }


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _counts(found: Inspection) -> str:
    if found.splits.keys() <= {"unassigned"}:
        words = "<p>No split is given: training, validation and test cases are drawn when a model is trained.</p>"
        return words if found.kind else ""
    patients = {
        split: {row.patient for row in found.studies if (row.split or "unassigned") == split} for split in found.splits
    }
    rows = [
        [split, f"{count:,}", "–" if None in patients[split] else f"{len(patients[split]):,}"]
        for split, count in found.splits.items()
    ]
    return table(["Split", "Cases", "Patients"], rows, numeric={1, 2})


def _labels(found: Inspection) -> str:
    bars = {split: dict(list(counts.items())[:_MOST_BARS]) for split, counts in found.classes.items() if counts}
    if not bars:
        return ""
    title = "Cases that show each label" if found.kind in ("mask", "several") else "Cases by label"
    hidden = len(next(iter(found.classes.values()))) - _MOST_BARS
    more = f"<p>and {hidden} more in inspect.json</p>" if hidden > 0 else ""
    return f'<h3>{title}</h3><figure class="wide">{label_bars(bars, title=title)}</figure>{more}{_sizes(found)}'


def _sizes(found: Inspection) -> str:
    print_ = found.fingerprint
    if found.kind != "mask" or print_ is None:
        return ""
    element = "voxels" if print_.dimensions == 3 else "pixels"
    rows = [
        [
            label.name,
            f"{label.cases:,}",
            f"{label.median_voxels:,.0f}",
            f"{100 * label.fraction:.2g} %",
            " × ".join(f"{n:g}" for n in label.median_extent) or "–",
        ]
        for label in print_.label_statistics
    ]
    head = ["Label", "Training cases", f"Median size ({element})", "Share of the study", f"Median extent ({element})"]
    return table(head, rows, numeric={1, 2, 3, 4})


def _histograms(found: Inspection) -> str:
    figures = []
    for data in found.distributions[:_MOST_CHARTS]:
        title = _TITLES[data.quantity].format(data.name)
        svg = histogram(data, x_title=_AXES.get(data.quantity, data.name), title=title)
        notes = ["Logarithmic axis."] if data.logarithmic else []
        total = data.outside + sum(sum(counts) for counts in data.counts.values())
        if data.outside:
            notes.append(f"{100 * data.outside / total:.2g} % lie outside and are not shown.")
        caption = f"<figcaption>{escape(' '.join(notes))}</figcaption>" if notes else ""
        figures.append(f'<figure class="small"><h3>{escape(title)}</h3>{svg}{caption}</figure>')
    hidden = len(found.distributions) - _MOST_CHARTS
    more = f"<p>and {hidden} more charts' data in inspect.json</p>" if hidden > 0 else ""
    return f'<div class="charts">{"".join(figures)}</div>{more}' if figures else ""
