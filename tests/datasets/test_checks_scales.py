"""Grey levels of several scales are a problem of the set, though no image is an outlier."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from osler.datasets.checks.evidence import Evidence
from osler.datasets.checks.outliers import check
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.observations import Observation
from osler.datasets.problem import Problem

CLASSES = LabelSet(kind="classes", labels=(Label(name="well", value=0), Label(name="sick", value=1)))


def problems(spans: list[float]) -> list[Problem]:
    facts, records = [], []
    for n, span in enumerate(spans):
        levels = tuple((span * np.array([0, 0.3, 0.5, 0.7, 1])).tolist())
        seen = Observation(np.ones(255), np.zeros((12, 12, 12)), levels, {}, {})
        facts.append(
            CaseFacts(f"c{n:02}", (8, 8, 8), (1.0,) * 3, "RAS", True, "MR", "", "nifti", False, observation=seen)
        )
        records.append(Record(name=f"c{n:02}", images={"image": ImageRef(path=f"c{n}")}, target=n % 2))
    manifest = Manifest(name="d", root=Path("/nowhere"), layout="test", labels=CLASSES, records=tuple(records))
    return [p for p in check(Evidence(Dataset(manifest), facts)) if "another scale" in p.what]


def drawn(middle: float, count: int) -> list[float]:
    return (middle * np.exp(np.random.default_rng(0).normal(0, 0.15, count))).tolist()


def test_three_scales_are_counted_with_their_sizes() -> None:
    [found] = problems([*drawn(90, 22), *drawn(900, 69), *drawn(413_000, 13)])
    assert len(found.cases) == 35
    assert "22 of about" in found.what
    assert "69 of about" in found.what
    assert "13 of about" in found.what
    assert (found.severity, found.leave_out) == ("warning", ())


def test_one_scale_however_wide_and_a_single_outlier_are_none() -> None:
    assert problems(np.geomspace(100, 10_000, 60).tolist()) == []
    assert problems([*drawn(900, 40), 413_000.0]) == []
    assert problems([*drawn(90, 5), *drawn(9000, 5)]) == []  # too few to tell
