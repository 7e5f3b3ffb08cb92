"""Image quality within one set: what is far from usual in the bad direction, and every case ranked."""

from __future__ import annotations

from math import exp, log
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.robust import Usual, outliers
from osler.datasets.problem import Code, Problem

__all__ = ["CaseQuality", "Limits", "QualityReport", "check", "rank_quality"]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Limits(_Frozen):
    """What is usual in this set for one measure."""

    low: float
    middle: float
    high: float


class CaseQuality(_Frozen):
    """One case: ``score`` is how far its worst measure (``worst``) lies from the middle, in widths of what is usual.

    Above 1 it is unusual.
    """

    name: str
    score: float
    worst: str
    measures: dict[str, float]


class QualityReport(_Frozen):
    """All cases that could be measured, the worst first, and the limits that were learned from them."""

    limits: dict[str, Limits]
    cases: tuple[CaseQuality, ...]


class _Rule(_Frozen):
    """How a measure is judged: on a logarithm where it is a ratio, with a floor, and on which side it is bad."""

    code: Code
    side: Literal["high", "low", "both"]
    floor: float
    logarithm: bool
    what: str


_RULES: dict[str, _Rule] = {
    "noise": _Rule(code="quality-noise", side="high", floor=log(2.0), logarithm=True, what="noisier"),
    "sharpness": _Rule(code="quality-sharpness", side="low", floor=0.1, logarithm=False, what="less sharp"),
    "streaking": _Rule(
        code="quality-sharpness", side="high", floor=log(1.3), logarithm=True, what="blurred along one axis"
    ),
    "ghosting": _Rule(code="quality-ghosting", side="high", floor=0.05, logarithm=False, what="ghosts of themselves"),
    "bias": _Rule(code="quality-bias", side="high", floor=0.15, logarithm=False, what="shaded unevenly"),
    "exposure": _Rule(code="quality-exposure", side="both", floor=0.15, logarithm=False, what="too dark or bright"),
    "contrast": _Rule(code="quality-exposure", side="low", floor=log(1.5), logarithm=True, what="of little contrast"),
    "clipped_high": _Rule(
        code="quality-clipping", side="high", floor=0.05, logarithm=False, what="cut off at the highest value"
    ),
    "clipped_low": _Rule(
        code="quality-clipping", side="high", floor=0.25, logarithm=False, what="cut off at the lowest value"
    ),
    "coverage": _Rule(code="quality-coverage", side="low", floor=log(1.5), logarithm=True, what="mostly empty margin"),
}
_SENTENCES: dict[Code, tuple[str, str]] = {
    "quality-noise": ("much noisier than the others", "look whether they can be read; leave out or acquire again"),
    "quality-sharpness": ("much less sharp than the others, or blurred along one axis (motion)", "look at them"),
    "quality-ghosting": ("agree with shifted copies of themselves: ghosts of motion, or wrapped", "look at them"),
    "quality-bias": ("shaded much more unevenly than the others", "correct the bias field (N4) or look at the coil"),
    "quality-exposure": (
        "much darker, brighter or flatter than the others",
        "export them with the window of the others",
    ),
    "quality-clipping": ("cut off at the ends of the grey scale", "export them with a wider window"),
    "quality-coverage": ("mostly margin: the image fills little of its frame", "crop them as the others are"),
}


def rank_quality(evidence: Evidence) -> QualityReport:
    """Every case that was measured, the worst first. A set of fewer than 12 has no limits, and all scores are 0."""
    limits: dict[str, Usual] = {}
    scores: dict[str, tuple[float, str]] = dict.fromkeys(evidence.seen, (0.0, ""))
    for measure, rule in _RULES.items():
        values = _values(evidence, measure, rule)
        usual, _ = outliers(values, rule.floor, side=rule.side)
        if usual is None:
            continue
        limits[measure] = usual
        for name, value in values.items():
            bad = rule.side == "both" or (value > usual.middle) == (rule.side == "high")
            if bad and usual.excess(value) > scores[name][0]:
                scores[name] = (usual.excess(value), measure)
    cases = [
        CaseQuality(name=name, score=round(score, 3), worst=worst, measures=_rounded(evidence.seen[name].quality))
        for name, (score, worst) in scores.items()
    ]
    return QualityReport(
        limits={measure: _limits(usual, _RULES[measure]) for measure, usual in limits.items()},
        cases=tuple(sorted(cases, key=lambda case: -case.score)),
    )


def check(evidence: Evidence) -> list[Problem]:
    """One problem per kind of fault; what ``saturated`` reports is not repeated as clipping."""
    details: dict[Code, dict[str, list[str]]] = {}
    scores: dict[Code, dict[str, float]] = {}
    for measure, rule in _RULES.items():
        values = _values(evidence, measure, rule)
        usual, odd = outliers(values, rule.floor, side=rule.side)
        if usual is None:
            continue
        limits = _limits(usual, rule)
        for name, excess in odd.items():
            value = f"{measure.replace('_', ' ')} {evidence.seen[name].quality[measure]:.3g}"
            text = f"{rule.what}: {value}, {_bound(limits, rule)}"
            details.setdefault(rule.code, {}).setdefault(name, []).append(text)
            of_code = scores.setdefault(rule.code, {})
            of_code[name] = max(of_code.get(name, 0.0), excess)
    return [
        problem_of(
            code,
            "warning",
            _SENTENCES[code][0],
            found,
            _SENTENCES[code][1],
            details={name: "; ".join(parts) for name, parts in found.items()},
            scores=scores[code],
        )
        for code, found in details.items()
    ]


def _values(evidence: Evidence, measure: str, rule: _Rule) -> dict[str, float]:
    found = {name: o.quality[measure] for name, o in evidence.seen.items() if measure in o.quality}
    return {name: log(max(value, 1e-4)) for name, value in found.items()} if rule.logarithm else found


def _limits(usual: Usual, rule: _Rule) -> Limits:
    """In the measure's own unit; no measure is below 0."""
    ends = (usual.low, usual.middle, usual.high)
    low, middle, high = (round(exp(end) if rule.logarithm else max(end, 0.0), 5) for end in ends)
    return Limits(low=low, middle=middle, high=high)


def _bound(limits: Limits, rule: _Rule) -> str:
    if rule.side == "both":
        return f"usual {limits.low:.3g} to {limits.high:.3g}"
    return f"usual at most {limits.high:.3g}" if rule.side == "high" else f"usual at least {limits.low:.3g}"


def _rounded(measures: dict[str, float]) -> dict[str, float]:
    return {name: float(f"{value:.4g}") for name, value in measures.items()}
