"""What a majority of cases is, and what a cleaned set goes without because of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.datasets.checks.evidence import Evidence
from osler.datasets.checks.mixtures import check
from osler.datasets.cleaning import clean
from osler.datasets.dataset import Dataset
from osler.datasets.facts import CaseFacts
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.problem import Problem

CLASSES = LabelSet(kind="classes", labels=(Label(name="well", value=0), Label(name="sick", value=1)))


def found(modalities: list[str], shapes: list[int] | None = None) -> tuple[Dataset, dict[str, Problem]]:
    facts, records = [], []
    for n, (modality, dimensions) in enumerate(zip(modalities, shapes or [3] * len(modalities), strict=True)):
        shape, spacing = (8,) * dimensions, (1.0,) * dimensions
        facts.append(CaseFacts(f"c{n}", shape, spacing, "", True, modality, "", "dicom", False))
        records.append(Record(name=f"c{n}", images={"image": ImageRef(path=f"c{n}")}, target=n % 2, patient=f"P{n}"))
    dataset = Dataset(Manifest(name="d", root=Path("/nowhere"), layout="test", labels=CLASSES, records=tuple(records)))
    return dataset, {problem.code: problem for problem in check(Evidence(dataset, facts))}


def test_a_case_of_another_modality_stays_for_a_person_to_decide() -> None:
    dataset, problems = found(["CT"] * 7 + ["MR"])
    assert problems["modality"].what == "1 case: not of modality CT as the others"
    cleaned = clean(dataset, list(problems.values()))
    assert (len(cleaned.dataset), cleaned.exclusions) == (8, ())
    assert [(review.case, review.code) for review in cleaned.reviews] == [("c7", "modality")]


@pytest.mark.parametrize(
    ("modalities", "said"),
    [
        (["US", "US", "CT", "", ""], "of several modalities (US 2, CT 1; 2 do not say)"),
        (["CT", "DX"], "of several modalities (CT 1, DX 1)"),
    ],
)
def test_where_no_modality_is_that_of_nearly_all_none_is_called_wrong(modalities: list[str], said: str) -> None:
    assert said in found(modalities)[1]["modality"].what


def test_one_modality_that_few_cases_state_is_no_problem() -> None:
    assert "modality" not in found(["US", "", "", "", ""])[1]


def test_slices_without_a_place_are_named_as_the_reason_for_other_dimensions() -> None:
    dataset, _ = found(["CT"] * 8)
    facts = [CaseFacts(f"c{n}", (8, 8, 8), (1.0,) * 3, "", True, "CT", "", "dicom", False) for n in range(7)]
    note = "ImagePositionPatient or ImageOrientationPatient is missing: the slice has no place"
    facts.append(CaseFacts("c7", (8, 8), (1.0,) * 2, "", True, "CT", "", "dicom", False, notes=(note,)))
    [problem] = [one for one in check(Evidence(dataset, facts)) if one.code == "dimensions"]
    assert "do not say where they lie" in problem.what
    assert problem.details == {"c7": note}


def test_cases_of_other_dimensions_are_left_out_only_where_they_are_few() -> None:
    assert found(["CT"] * 8, [3] * 7 + [2])[1]["dimensions"].leave_out == ("c7",)
    assert found(["CT"] * 4, [3, 3, 2, 2])[1]["dimensions"].leave_out == ()
