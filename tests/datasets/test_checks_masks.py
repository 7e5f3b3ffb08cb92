"""Stray islands are those that few cases have; what every case has is how the structure is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osler.datasets.checks.evidence import Evidence
from osler.datasets.checks.masks import check
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.observations import Observation
from osler.datasets.pieces import pieces_of
from osler.datasets.problem import Problem
from osler.studies.image import Image


def islands(speckled: set[int], count: int = 20) -> list[str]:
    """The cases named for islands, of which those of some numbers have two specks beside a large piece."""
    return [name for p in found(speckled, set(), count) if p.code == "mask-islands" for name in p.cases]


def found(speckled: set[int], touching: set[int], count: int) -> list[Problem]:
    """What is wrong with masks of one piece; some have specks, some reach the border."""
    facts, records = [], []
    for n in range(count):
        mask = np.zeros((1, 80, 80), np.uint8)
        mask[0, 20:60, 20 : 60 + n % 3] = 1
        if n in touching:
            mask[0, :20, 30:40] = 1
        if n in speckled:
            mask[0, 2, 2] = mask[0, 75, 5] = 1
        seen = Observation(np.ones(255), np.zeros((32, 32)), (0.0,) * 5, {}, {}, pieces=pieces_of(Image(mask)))
        name = f"c{n:02}"
        facts.append(
            CaseFacts(name, (80, 80), (1.0, 1.0), "", False, "", "", "raster", False, observation=seen)
        )  # fmt: skip
        records.append(Record(name=name, images={"image": ImageRef(path=name)}, mask=ImageRef(path=f"{name}m")))
    labels = LabelSet(kind="mask", labels=(Label(name="blob", value=1),))
    manifest = Manifest(name="d", root=Path("/nowhere"), layout="test", labels=labels, records=tuple(records))
    return check(Evidence(Dataset(manifest), facts))


@pytest.mark.parametrize(("speckled", "named"), [({3}, ["c03"]), ({1, 2, 5}, ["c01", "c02", "c05"])])
def test_specks_of_few_cases_are_stray(speckled: set[int], named: list[str]) -> None:
    assert islands(speckled) == named


def test_specks_of_many_cases_are_how_the_structure_is() -> None:
    assert islands(set(range(8))) == []
    assert islands(set(range(6)), count=6) == []


@pytest.mark.parametrize("count", [6, 20])
def test_a_mask_that_touches_the_border_is_named_in_small_sets_too(count: int) -> None:
    [border] = [p for p in found(set(), {4}, count) if p.code == "mask-border"]
    assert border.cases == ("c04",)


@pytest.mark.parametrize(("count", "said"), [(4, True), (11, True), (12, False)])
def test_what_is_not_judged_for_want_of_masks_is_said(count: int, said: bool) -> None:
    notes = [p.what for p in found(set(), {3}, count) if p.code == "few-cases"]
    assert [f"too few masks show blob ({count})" in note for note in notes] == [True] * said
