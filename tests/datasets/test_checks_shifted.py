"""Masks that were moved beside what they outline are named, by how much and in which direction; others are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from osler.datasets.checks.evidence import Evidence
from osler.datasets.checks.shifted import check
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.observations import Observation
from osler.datasets.outline import REACH, OutlineContrast, outlines_of
from osler.datasets.problem import Problem
from osler.studies.image import Image

BLOB = LabelSet(kind="mask", labels=(Label(name="blob", value=1),))


def ball(
    shape: tuple[int, ...], seed: int, *, bright: float = 60.0, radius: float = 12.0
) -> tuple[np.ndarray, np.ndarray]:
    """An image with a ball on uneven ground, and the ball: both (*shape)."""
    random = np.random.default_rng(seed)
    middle = np.array(shape) / 2 + random.uniform(-3, 3, len(shape))
    distance = np.sqrt(sum((g - m) ** 2 for g, m in zip(np.indices(shape), middle, strict=True)))
    ground = gaussian_filter(random.normal(0, 1, shape), 4)
    inside = distance < radius * random.uniform(0.9, 1.1)
    return 100 + 15 * ground / ground.std() + bright * inside + random.normal(0, 6, shape), inside


def outlines(image: np.ndarray, mask: np.ndarray) -> tuple[OutlineContrast, ...]:
    return outlines_of(Image(image[None].astype(np.float32)), Image(mask[None].astype(np.uint8)))


def evidence(cases: dict[str, tuple[OutlineContrast, ...]], patients: dict[str, str] | None = None) -> Evidence:
    """A dataset of which nothing but the outlines is known."""
    records = tuple(
        Record(
            name=name,
            images={"image": ImageRef(path=f"{name}.png")},
            mask=ImageRef(path=f"{name}-m.png"),
            patient=(patients or {}).get(name),
        )
        for name in cases
    )
    manifest = Manifest(
        name="d", root=Path("/nowhere"), layout="test", labels=BLOB, records=records,
        patients="given" if patients else "unknown",
    )  # fmt: skip
    view = np.zeros((32, 32), np.uint8) if next(iter(cases.values()))[0].axes == (0, 1) else np.zeros((12, 12, 12))
    view = view if all(len(found) == 1 for found in cases.values()) else np.zeros((12, 12, 12), np.uint8)
    facts = [
        CaseFacts(
            name=name, shape=(96, 96), spacing=(1.0, 1.0), codes="", spacing_known=False, modality="", units="",
            format="raster", colourful=False,
            observation=Observation(np.ones(255), view, (0.0,) * 5, {}, {}, outlines=found),
        )
        for name, found in cases.items()
    ]  # fmt: skip
    return Evidence(Dataset(manifest), facts)


def only(problems: list[Problem]) -> Problem:
    (problem,) = problems
    return problem


def pictures(move: dict[int, tuple[int, int]], *, bright: float = 60.0, count: int = 24) -> dict:
    cases = {}
    for n in range(count):
        image, inside = ball((96, 96), n, bright=bright)
        cases[f"p{n:02}"] = outlines(image, np.roll(inside, move.get(n, (0, 0)), axis=(0, 1)))
    return cases


@pytest.mark.parametrize("bright", [60.0, -60.0])
def test_moved_masks_are_named_with_the_way_back(bright: float) -> None:
    found = only(check(evidence(pictures({3: (-9, 0), 11: (0, 8)}, bright=bright))))
    assert (found.code, found.severity, set(found.cases)) == ("mask-shifted", "warning", {"p03", "p11"})
    assert found.details["p03"] in {f"fits best when moved {n} pixels to the right" for n in (8, 9, 10)}
    assert found.details["p11"] in {f"fits best when moved {n} pixels up" for n in (7, 8, 9)}
    assert found.leave_out == ()
    assert "patient" not in found.what


def test_masks_that_fit_and_small_moves_are_not_named() -> None:
    assert check(evidence(pictures({}))) == []
    assert check(evidence(pictures({5: (2, -1)}))) == []


def test_nothing_is_said_where_the_image_does_not_show_the_outline() -> None:
    assert check(evidence(pictures({3: (-9, 0)}, bright=0.0))) == []


def test_nothing_is_said_of_few_cases_and_of_other_answers() -> None:
    assert check(evidence(pictures({3: (-9, 0)}, count=11))) == []
    asked = evidence(pictures({3: (-9, 0)}))
    classes = asked.dataset.manifest.model_copy(update={"labels": LabelSet(kind="classes")})
    assert check(Evidence(Dataset(classes), asked.facts)) == []


def test_the_slices_of_a_patient_are_judged_together() -> None:
    cases, patients = {}, {}
    for patient in range(13):
        for cut in range(6):
            name = f"P{patient:02}-{cut}"
            image, inside = ball((96, 96), 100 * patient + cut, bright=14.0)  # hardly to be seen in one slice
            cases[name] = outlines(image, np.roll(inside, (6, 6) if patient == 4 else (0, 0), axis=(0, 1)))
            patients[name] = f"P{patient:02}"
    found = only(check(evidence(cases, patients)))
    assert found.groups == (tuple(f"P04-{cut}" for cut in range(6)),)
    assert "(1 patient)" in found.what
    assert "to the left and" in found.details["P04-0"]
    assert found.details["P04-0"].endswith("up")


def test_volumes_are_measured_along_all_three_axes() -> None:
    cases = {}
    for n in range(24):
        image, inside = ball((48, 44, 40), n, radius=10.0)
        cases[f"v{n:02}"] = outlines(image, np.roll(inside, {2: 6, 9: -6}.get(n, 0), axis={2: 0, 9: 2}.get(n, 0)))
    found = only(check(evidence(cases)))
    assert set(found.cases) == {"v02", "v09"}
    assert "voxels along I" in found.details["v02"]
    assert "along K" in found.details["v09"]


def test_contrast_is_that_of_a_hand_computed_square() -> None:
    """Inside 10, outside 0: at its place the band inside less the band outside is 10, far away 0."""
    inside = np.zeros((64, 64), bool)
    inside[24:40, 24:40] = True
    (found,) = outlines(10.0 * inside, inside)
    assert (found.step, found.contrast.shape) == (1, (2 * REACH + 1,) * 2)
    assert found.contrast[REACH, REACH] == pytest.approx(10.0, abs=1e-4)
    assert found.contrast[REACH, REACH] == found.contrast.max()
    np.testing.assert_allclose(found.contrast, found.contrast[::-1], atol=1e-4)
    np.testing.assert_allclose(found.contrast, found.contrast.T, atol=1e-4)


def test_large_masks_are_moved_in_larger_steps_and_tiny_or_filling_ones_have_no_outline() -> None:
    inside = np.zeros((256, 256), bool)
    inside[60:156, 80:176] = True
    (found,) = outlines(10.0 * inside, inside)
    assert found.step == 6
    assert found.contrast[REACH, REACH] == pytest.approx(10.0, abs=0.5)
    tiny = np.zeros((64, 64), bool)
    tiny[3:6, 3:6] = True
    assert outlines(10.0 * tiny, tiny) == ()
    whole = np.ones((64, 64), bool)
    assert outlines(10.0 * whole, whole) == ()
    assert outlines(np.zeros((64, 64)), np.zeros((64, 64), bool)) == ()


def facts_of(dataset: Dataset) -> list[CaseFacts]:
    """What the check asks for and nothing else."""
    facts = []
    for record in dataset.records:
        case = dataset.read_case(record)
        assert case.mask is not None
        image = case.study.image
        seen = Observation(
            np.ones(255), np.zeros((12,) * image.dimensions), (0.0,) * 5, {}, {}, outlines=outlines_of(image, case.mask)
        )
        facts.append(
            CaseFacts(
                record.name, image.shape, image.spacing, "", False, "", "", "raster", False, observation=seen
            )
        )  # fmt: skip
    return facts


def test_of_thirty_real_hearts_the_one_whose_masks_lie_aside_is_named(shared: Path) -> None:
    dataset = open_dataset(shared / "cardiac-mr", patient="^(.+?)-IM")
    found = only(check(Evidence(dataset, facts_of(dataset))))
    assert {name.split("-IM")[0] for name in found.cases} == {"SC-N-06"}
    assert len(found.cases) == 13
    assert "pixels to the right and" in found.details[found.cases[0]]


def test_no_real_hippocampus_is_named(shared: Path) -> None:
    dataset = open_dataset(shared / "hippocampus")
    some = dataset.with_records(dataset.records[:60])
    assert check(Evidence(some, facts_of(some))) == []
