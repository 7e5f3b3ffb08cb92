"""Cases whose shape, spacing, field of view or intensities are far from those of the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import exp, log

import numpy as np

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.checks.robust import FEWEST, Usual, outliers
from osler.datasets.facts import CaseFacts
from osler.datasets.problem import Code, Problem

__all__ = ["check"]

_SHAPE, _SPACING, _EXTENT = log(1.5), log(1.2), log(1.5)
"""Ratios up to these are never unusual."""
_LEVELS = 0.5
"""Nor is a shift of grey levels of up to half of the usual range between the 1st and 99th percentile."""
_RANGE = log(2.5)
"""Nor a range of grey levels up to this many times larger or smaller."""
_APART = log(3.0)
"""Between the ranges of two scales no image lies over at least this factor. Hippocampi of the Decathlon have three
scales, a factor of 5 and one of 200 apart; within each, neighbours differ by 1.1."""
_GROUP = 0.05
"""Share of the cases, and at least ``_GROUP_OF`` of them, that make a scale of its own; fewer are outliers."""
_GROUP_OF = 3


def check(evidence: Evidence) -> list[Problem]:
    """See the module; limits are learned from the set (see ``robust.usual``)."""
    problems = [
        *_geometry(evidence, "outlier-shape", "sizes", "voxels", lambda fact: fact.shape, _SHAPE),
        *_intensities(evidence),
        *_scales(evidence),
    ]
    if all(fact.spacing_known for fact in evidence.facts):
        problems += _geometry(evidence, "outlier-spacing", "spacings", "mm", lambda fact: fact.spacing, _SPACING)
        problems += _geometry(evidence, "outlier-extent", "fields of view", "mm", _extent, _EXTENT)
    return problems


def _extent(fact: CaseFacts) -> tuple[float, ...]:
    return tuple(n * spacing for n, spacing in zip(fact.shape, fact.spacing, strict=True))


def _geometry(
    evidence: Evidence,
    code: Code,
    what: str,
    unit: str,
    values_of: Callable[[CaseFacts], tuple[float, ...]],
    floor: float,
) -> list[Problem]:
    details: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    for axis, name in enumerate("IJK"):
        logs = {f.name: log(values_of(f)[axis]) for f in evidence.facts if len(f.shape) > axis}
        limits, odd = outliers(logs, floor)
        for case, excess in odd.items():
            details.setdefault(case, []).append(f"{_said(exp(logs[case]), unit)} along {name}, {_usual(limits, unit)}")
            scores[case] = max(scores.get(case, 0.0), excess)
    return _problem(code, f"{what} far from those of the others", details, scores)


def _intensities(evidence: Evidence) -> list[Problem]:
    """The median, in units of the usual range of grey levels, and that range itself."""
    seen = evidence.seen
    spans = {name: o.levels[4] - o.levels[0] for name, o in seen.items() if o.levels[4] > o.levels[0]}
    if not spans:
        return []
    typical = sorted(spans.values())[len(spans) // 2]
    middles = {name: seen[name].levels[2] / typical for name in spans}
    details: dict[str, list[str]] = {}
    scores: dict[str, float] = {}
    limits, odd = outliers(middles, _LEVELS)
    for case, excess in odd.items():
        median = seen[case].levels[2]
        details.setdefault(case, []).append(
            f"median {median:.4g}, {_bound(limits, middles[case], lambda x: x * typical)}"
        )
        scores[case] = excess
    logs = {name: log(span) for name, span in spans.items()}
    limits, odd = outliers(logs, _RANGE)
    for case, excess in odd.items():
        text = f"1st to 99th percentile {spans[case]:.4g} apart, {_bound(limits, logs[case], exp)}"
        details.setdefault(case, []).append(text)
        scores[case] = max(scores.get(case, 0.0), excess)
    return _problem("outlier-intensity", "grey levels far from those of the others", details, scores)


def _scales(evidence: Evidence) -> list[Problem]:
    """Several groups of images whose ranges of grey levels lie orders of magnitude apart: none of them is an outlier.

    Of images of one scale the same tissue has about the same grey level, which a mixture of scales does not keep.
    """
    spans = {n: o.levels[4] - o.levels[0] for n, o in evidence.seen.items() if o.levels[4] > o.levels[0]}
    if len(spans) < FEWEST:
        return []
    ordered = sorted(spans, key=lambda name: spans[name])
    cuts = np.flatnonzero(np.diff(np.log([spans[name] for name in ordered])) > _APART) + 1
    groups = [part.tolist() for part in np.split(np.array(ordered), cuts)]
    groups = [group for group in groups if len(group) >= max(_GROUP_OF, _GROUP * len(spans))]
    if len(groups) < 2:
        return []
    middles = [spans[group[len(group) // 2]] for group in groups]
    usual = max(groups, key=len)
    listed = ", ".join(f"{len(g)} of about {_level(middle)}" for g, middle in zip(groups, middles, strict=True))
    what = f"grey levels of another scale than in most; 1st to 99th percentile: {listed}"
    details = {
        name: f"1st to 99th percentile {_level(spans[name])} apart, usual about {_level(spans[usual[len(usual) // 2]])}"
        for group in groups
        if group is not usual
        for name in group
    }
    remedy = (
        "find out which were exported otherwise; only where each image is normalised by itself it makes no difference"
    )
    return [problem_of("outlier-intensity", "warning", what, details, remedy, details=details)]


def _level(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _said(value: float, unit: str) -> str:
    return f"{value:.4g} {unit}".strip()


def _usual(limits: Usual | None, unit: str) -> str:
    return "" if limits is None else f"usual {exp(limits.low):.4g} to {_said(exp(limits.high), unit)}"


def _bound(limits: Usual | None, value: float, scale: Callable[[float], float]) -> str:
    """The limit that a value lies beyond; the other one may lie outside of what grey levels there can be."""
    if limits is None:
        return ""
    low = value < limits.middle
    return f"usual {'at least' if low else 'at most'} {scale(limits.low if low else limits.high):.4g}"


def _problem(code: Code, what: str, details: Mapping[str, list[str]], scores: Mapping[str, float]) -> list[Problem]:
    if not details:
        return []
    texts = {name: "; ".join(parts) for name, parts in details.items()}
    remedy = "check that they belong here and were exported in the same way"
    return [problem_of(code, "warning", what, texts, remedy, details=texts, scores=scores)]
