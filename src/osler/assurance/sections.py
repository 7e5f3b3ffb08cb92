"""The parts of the page that show figures: tables and charts."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from html import escape

from osler.assurance import charts as draw
from osler.assurance.results import Evaluation, Figure, Line
from osler.assurance.wording import NO_VALUE, Shown, interval_text, number_text, shown

__all__ = ["by_label", "charts", "headline", "subgroups", "table"]

_MOST_CURVES = 8
_MOST_COLUMNS = 6
_SUBGROUP_KEYS = {
    "classes": ("auc", "sensitivity", "specificity"),
    "several": ("auc", "sensitivity", "specificity"),
    "grades": ("kappa", "grade_error", "accuracy"),
    "number": ("mae", "bias"),
    "mask": ("dice", "hd95_mm", "hd95_px", "nsd"),
}


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, numeric: Collection[int], caption: str = "") -> str:
    """An HTML table of plain words; the first column is the row's heading, ``numeric`` columns are right-aligned."""
    right = [' class="n"' if i in numeric else "" for i in range(len(head))]
    top = "".join(f'<th scope="col"{cls}>{escape(words)}</th>' for words, cls in zip(head, right, strict=True))
    body = ""
    for row in rows:
        cells = "".join(f"<td{cls}>{escape(words)}</td>" for words, cls in zip(row[1:], right[1:], strict=True))
        body += f'<tr><th scope="row">{escape(row[0])}</th>{cells}</tr>'
    words = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f'<div class="scroll"><table>{words}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


def _value(figure: Figure, entry: Shown) -> str:
    unit = f" {entry.unit}" if entry.unit and figure.value is not None else ""
    return number_text(figure.value, entry, beside=figure) + unit


def headline(evaluation: Evaluation) -> str:
    """All headline figures with their intervals."""
    rows = [
        [entry.title, _value(figure, entry), interval_text(figure, entry), str(figure.n), str(figure.patients)]
        for key, entry in shown(evaluation).items()
        for figure in [evaluation.metrics[key]]
    ]
    whose = "Patients" if evaluation.resampled_by == "patient" else "Images"
    head = ["Figure", "Value", "95 % interval", "Cases that count", whose]
    caption = _headline_caption(evaluation)
    return f"<h2>Figures</h2>{table(head, rows, numeric={1, 2, 3, 4}, caption=caption)}"


def _headline_caption(evaluation: Evaluation) -> str:
    if evaluation.positive is not None:
        return f"Sensitivity, specificity, precision and F1 are those of “{evaluation.positive}”."
    if len(evaluation.per_class) > 1:
        return "Figures that exist for each label are the mean over the labels."
    return ""


def by_label(evaluation: Evaluation) -> str:
    """The figures of each label; nothing where there is one label only."""
    if len(evaluation.per_class) < 2:
        return ""
    entries = shown(evaluation)
    keys = [key for key in entries if any(key in figures for figures in evaluation.per_class.values())]
    counts = _counts(evaluation)
    head = ["Label", *(["Cases with it"] if counts else []), *(_short_title(entries[key]) for key in keys)]
    rows = []
    for label, figures in evaluation.per_class.items():
        rows.append([label, *([str(counts[label])] if counts else []), *_cells(figures, keys, entries)])
    if len(rows) <= _MOST_COLUMNS:  # figures under each other read and print better than a wide table
        head, *rows = [list(column) for column in zip(head, *rows, strict=True)]
    caption = "Each label on its own, against all others; 95 % intervals below the figures."
    body = table(head, rows, numeric=range(1, len(head)), caption=caption)
    return f"<h2>By label</h2>{_with_breaks(body)}"


def _counts(evaluation: Evaluation) -> dict[str, int]:
    if evaluation.decisions:
        return {label: d.true_positive + d.false_negative for label, d in evaluation.decisions.items()}
    return {label: states["found"] + states["missed"] for label, states in evaluation.undefined.items()}


def _short_title(entry: Shown) -> str:
    return entry.title.replace("Average precision", "Avg. precision").replace(
        "95 % Hausdorff distance", "Hausdorff 95 %"
    )


def _span(figure: Figure, entry: Shown) -> str:
    text = interval_text(figure, entry)
    return "" if text == NO_VALUE else text


def _with_breaks(html: str) -> str:
    """The second line of a cell is its interval."""
    parts = html.split("\n")
    out = parts[0]
    for part in parts[1:]:
        interval, rest = part.split("</td>", 1)
        out += f'<br><span class="interval">{interval}</span></td>{rest}'
    return out


def subgroups(evaluation: Evaluation) -> str:
    """The main figure of each subgroup as a forest plot, and a few more in a table."""
    if not evaluation.subgroups:
        return ""
    entries = shown(evaluation)
    keys = [key for key in _SUBGROUP_KEYS[evaluation.kind] if key in entries]
    main = entries[keys[0]]
    rows = [
        (column, value, figures[main.key], _size(figures[main.key], main))
        for column, values in evaluation.subgroups.items()
        for value, figures in values.items()
    ]
    picture = draw.forest(
        rows,
        evaluation.metrics[main.key],
        x_title=f"{main.title}{f' ({main.unit})' if main.unit else ''}",
        title=f"{main.title} by subgroup",
        percent=main.metric.unit == "fraction",
    )
    head = ["Subgroup", "Cases", "Patients", *(entries[key].title for key in keys)]
    body = [
        [f"{column}: {value}", *_sizes(figures[main.key]), *_cells(figures, keys, entries)]
        for column, values in evaluation.subgroups.items()
        for value, figures in values.items()
    ]
    note = (
        "The dashed line is all cases together. Hollow: too few patients for an interval. With many subgroups some "
        "differ by chance."
    )
    listed = _with_breaks(table(head, body, numeric=range(1, len(head))))
    return f'<h2>Subgroups</h2><figure class="wide">{picture}<figcaption>{escape(note)}</figcaption></figure>{listed}'


def _size(figure: Figure, entry: Shown) -> str:
    counts = ((figure.n, "case"), (figure.patients, "patient"))
    cases, patients = (f"{n} {noun}{'' if n == 1 else 's'}" for n, noun in counts)
    return f"{number_text(figure.value, entry, beside=figure)} ({cases}, {patients})"


def _sizes(figure: Figure) -> list[str]:
    return [str(figure.n), str(figure.patients)]


def _cells(figures: dict[str, Figure], keys: Sequence[str], entries: dict[str, Shown]) -> list[str]:
    return [f"{_value(figures[key], entries[key])}\n{_span(figures[key], entries[key])}" for key in keys]


def charts(evaluation: Evaluation) -> str:
    """The charts that fit the kind of answer."""
    figures = [*_matrix(evaluation), *_curves(evaluation), *_reliability(evaluation), *_agreement(evaluation)]
    wide = _strips(evaluation)
    if not figures and not wide:
        return ""
    grid = f'<div class="charts">{"".join(figures)}</div>' if figures else ""
    return f"<h2>Charts</h2>{grid}{wide}"


def _figure(heading: str, svg: str, caption: str, kind: str = "small") -> str:
    return f'<figure class="{kind}"><h3>{escape(heading)}</h3>{svg}<figcaption>{escape(caption)}</figcaption></figure>'


def _matrix(evaluation: Evaluation) -> list[str]:
    if evaluation.confusion is None:
        return []
    svg = draw.confusion(evaluation.confusion, title="Confusion matrix")
    return [_figure("Confusion matrix", svg, "Rows are the truth. Per cent are of the row; orange is wrong.")]


def _curves(evaluation: Evaluation) -> list[str]:
    found = []
    roc, recall = evaluation.curves.get("roc", {}), evaluation.curves.get("precision_recall", {})
    if roc:
        lines, more = _worst_curves(evaluation, roc, "auc")
        svg = draw.curves(
            lines,
            _legend(evaluation, lines, "auc"),
            x_title="1 − specificity (false alarms)",
            y_title="Sensitivity",
            title="ROC curve",
            marks=_operating_points(evaluation),
            diagonal=True,
        )
        found.append(_figure("ROC curve", svg, f"The dot is the threshold in use; the dashed line is chance.{more}"))
    if recall:
        lines, more = _worst_curves(evaluation, recall, "average_precision")
        svg = draw.curves(
            {label: _steps(line) for label, line in lines.items()},
            _legend(evaluation, lines, "average_precision"),
            x_title="Recall (sensitivity)",
            y_title="Precision",
            title="Precision-recall curve",
        )
        found.append(_figure("Precision and recall", svg, f"How clean the flagged cases stay as more are found.{more}"))
    return found


def _steps(line: Line) -> Line:
    """Precision holds back to the recall before: joining the points straight would flatter the model."""
    before = (0.0, *line.x[:-1])
    x = tuple(value for pair in zip(before, line.x, strict=True) for value in pair)
    return Line(x=x, y=tuple(value for y in line.y for value in (y, y)))


def _worst_curves(evaluation: Evaluation, lines: dict[str, Line], key: str) -> tuple[dict[str, Line], str]:
    """At most eight, those with the smallest area."""
    if len(lines) <= _MOST_CURVES:
        return lines, ""
    order = sorted(lines, key=lambda label: evaluation.per_class[label][key].value or 0.0)[:_MOST_CURVES]
    return {label: lines[label] for label in order}, f" The {_MOST_CURVES} worst of {len(lines)} labels."


def _legend(evaluation: Evaluation, lines: dict[str, Line], key: str) -> dict[str, str]:
    entry = shown(evaluation)[key]
    return {label: f"{label} ({number_text(evaluation.per_class[label][key].value, entry)})" for label in lines}


def _operating_points(evaluation: Evaluation) -> dict[str, tuple[float, float]]:
    found = {}
    for label, d in evaluation.decisions.items():
        positives, negatives = d.true_positive + d.false_negative, d.false_positive + d.true_negative
        if positives and negatives:
            found[label] = (d.false_positive / negatives, d.true_positive / positives)
    return found


def _reliability(evaluation: Evaluation) -> list[str]:
    if not evaluation.reliability:
        return []
    several = evaluation.kind == "several"
    chosen = list(evaluation.reliability)[:4] if several else [evaluation.positive or "answer"]
    found = []
    for label in chosen:
        of_answer = label == "answer" and evaluation.positive is None
        what = "the model's answer" if of_answer else f"“{label}”"
        svg = draw.reliability(
            evaluation.reliability[label],
            x_title=f"Stated probability of {what}",
            y_title="Share that was right" if of_answer else "Share that has it",
            title=f"Reliability of {what}",
        )
        caption = (
            "On the dashed line probabilities mean what they say; below it they are too high. Bars: number of cases."
        )
        found.append(_figure(f"Reliability: {what}", svg, caption))
    return found


def _agreement(evaluation: Evaluation) -> list[str]:
    if evaluation.kind != "number" or not evaluation.per_case:
        return []
    truth = [row.scores["truth"] or 0.0 for row in evaluation.per_case]
    prediction = [row.scores["prediction"] or 0.0 for row in evaluation.per_case]
    unit = shown(evaluation)["mae"].unit
    names = {"bias": "bias", "limit_high": "upper limit", "limit_low": "lower limit"}
    values = {words: evaluation.metrics[key].value for key, words in names.items()}
    lines = {words: value for words, value in values.items() if value is not None}
    against = draw.agreement(truth, prediction, None, unit=unit, title="Model against truth")
    altman = draw.agreement(truth, prediction, lines, unit=unit, title="Bland–Altman plot")
    return [
        _figure("Model against truth", against, "On the dashed line the model is right."),
        _figure("Bland–Altman plot", altman, "About 95 % of the errors lie between the limits of agreement."),
    ]


def _strips(evaluation: Evaluation) -> str:
    if evaluation.kind != "mask" or not evaluation.per_case:
        return ""
    values = {
        label: [
            (row.name, score) for row in evaluation.per_case if (score := row.scores.get(f"{label}: dice")) is not None
        ]
        for label in evaluation.per_class
    }
    svg = draw.strips(values, x_title="Dice", title="Dice of every case, by label")
    caption = "Every dot is a case; the box holds the middle half of them, its line is the median."
    return _figure("Dice of every case", svg, caption, "wide")
