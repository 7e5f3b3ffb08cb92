"""Evaluations: what is counted, what has an interval, and what is said about it."""

from __future__ import annotations

import numpy as np
import pytest
import sklearn.metrics as reference

from osler.assurance.card import model_card
from osler.assurance.cohort import make_cohort, subgroups_of
from osler.assurance.evaluation import (
    CaseScores,
    Evaluation,
    evaluate_classes,
    evaluate_grades,
    evaluate_masks,
    evaluate_numbers,
    evaluate_several,
    score_mask,
)
from osler.assurance.page import page_html
from osler.datasets.labels import Kind, Label, LabelSet
from osler.errors import GridMismatch, UsageError


def labels(kind: Kind, *names: str, values: tuple[int, ...] = ()) -> LabelSet:
    numbers = values or tuple(range(len(names)))
    return LabelSet(kind=kind, labels=tuple(Label(name=n, value=v) for n, v in zip(names, numbers, strict=True)))


def classes(cases: int = 60, *, per_patient: int = 2, seed: int = 0, resamples: int = 200) -> Evaluation:
    draw = np.random.default_rng(seed)
    truth = draw.integers(0, 2, cases)
    score = np.clip(0.5 + 0.3 * (truth - 0.5) + draw.normal(0, 0.2, cases), 0.01, 0.99)
    columns = [{"sex": "FM"[i % 2], "age": str(20 + i), "scanner": "new" if i < 4 else "old"} for i in range(cases)]
    return evaluate_classes(
        labels("classes", "normal", "pneumonia"),
        [f"case{i}" for i in range(cases)],
        [f"p{i // per_patient}" for i in range(cases)],
        truth,
        np.stack([1 - score, score], axis=1),
        columns,
        resamples=resamples,
    )


def test_two_classes_state_the_positive_one_and_count_patients() -> None:
    found = classes()
    assert (found.task, found.positive, found.cases, found.patients) == ("classify", "pneumonia", 60, 30)
    assert found.split_by == "patient"
    assert found.metrics["sensitivity"] == found.per_class["pneumonia"]["sensitivity"]
    assert found.metrics["sensitivity"].n == sum(d for d in _with_label(found, "pneumonia"))
    assert all(f.low is not None and f.low <= (f.value or 0) <= (f.high or 0) for f in found.metrics.values())


def _with_label(found: Evaluation, label: str) -> tuple[int, int]:
    d = found.decisions[label]
    return d.true_positive, d.false_negative


def test_the_same_answers_and_seed_give_the_same_figures() -> None:
    assert classes() == classes()


def test_an_evaluation_survives_json() -> None:
    found = classes()
    assert Evaluation.model_validate_json(found.model_dump_json()) == found


def test_nothing_about_single_cases_goes_into_a_model_folder() -> None:
    text = classes().without_cases().model_dump_json()
    assert "case7" not in text
    assert '"p3"' not in text


def test_the_worst_cases_come_first_and_patients_are_averaged() -> None:
    found = classes()
    scores = [row.score or 0.0 for row in found.per_case]
    assert scores == sorted(scores)
    assert found.per_case[0].answer != found.per_case[0].predicted
    by_hand = np.mean([r.score for r in found.per_case if r.patient == found.per_patient[0].patient])
    assert found.per_patient[0].score == pytest.approx(by_hand)


def test_subgroups_hold_their_own_figures_and_small_ones_have_no_interval() -> None:
    found = classes()
    assert set(found.subgroups) == {"sex", "age", "scanner"}
    assert len(found.subgroups["age"]) == 3  # sixty different numbers become thirds
    assert sum(f["accuracy"].n for f in found.subgroups["sex"].values()) == 60
    small = found.subgroups["scanner"]["new"]["accuracy"]
    assert (small.n, small.patients, small.low) == (4, 2, None)
    assert any("scanner = new" in note for note in found.notes)


def test_a_column_of_names_is_left_out_and_said_so() -> None:
    cohort = make_cohort(["a"] * 20, [None] * 20, [{"operator": f"x{i}", "site": "one"} for i in range(20)])
    groups, notes = subgroups_of(cohort)
    assert groups == {}
    assert "operator" in notes[0]


def test_unknown_patients_are_images_and_every_page_says_so() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]] * 5)
    found = evaluate_classes(
        labels("classes", "a", "b"), list("abcdefghij"), [None] * 10, np.array([0, 1] * 5), probabilities
    )
    assert found.split_by == "image"
    assert any(note.startswith("Split by image") for note in found.notes)


@pytest.mark.parametrize(("patient", "unit"), [(None, "image"), ("p", "patient")])
def test_a_split_that_came_with_the_data_is_not_called_osler_s(patient: str | None, unit: str) -> None:
    patients = [None if patient is None else f"{patient}{i}" for i in range(40)]
    truth = np.arange(40) % 2
    found = evaluate_classes(
        labels("classes", "a", "b"),
        [f"c{i}" for i in range(40)],
        patients,
        truth,
        np.stack([1 - 0.8 * truth, 0.8 * truth], axis=1),
        split_by="given",
        resamples=30,
    )
    assert (found.split_by, found.resampled_by) == ("given", unit)
    said = " ".join([*found.notes, page_html(found), model_card("m", found)])
    assert "The split came with the data" in said
    assert "split by image" not in said.lower()
    assert "split by patient" not in said.lower()
    assert ("not known which images belong to one patient" in said) == (patient is None)


def test_all_right_has_an_exact_interval_not_one_without_width() -> None:
    probabilities = np.array([[0.9, 0.1], [0.2, 0.8]] * 5)
    found = evaluate_classes(
        labels("classes", "a", "b"), list("abcdefghij"), list("abcdefghij"), np.array([0, 1] * 5), probabilities
    )
    assert found.metrics["accuracy"].method == "exact"
    assert found.metrics["accuracy"].low == pytest.approx(0.025**0.1)
    assert found.metrics["sensitivity"].low == pytest.approx(0.025**0.2)  # five patients have it


def test_one_patient_has_figures_without_intervals() -> None:
    found = classes(cases=6, per_patient=6)
    assert all(f.low is None for f in found.metrics.values())
    assert any("one patient" in note for note in found.notes)


def test_a_class_without_a_case_is_undefined_left_out_of_means_and_said() -> None:
    truth, probabilities = np.array([0, 1, 0, 1]), np.eye(3)[[0, 1, 1, 1]] * 0.8 + 0.2 / 3
    found = evaluate_classes(labels("classes", "a", "b", "c"), list("wxyz"), list("wxyz"), truth, probabilities)
    assert found.per_class["c"]["auc"].value is None
    assert found.per_class["c"]["sensitivity"].value is None
    present = [found.per_class[k]["auc"].value or 0 for k in "ab"]
    assert found.metrics["auc"].value == pytest.approx(np.mean(present))
    assert any("No case has “c”" in note for note in found.notes)


def test_several_labels_with_unknown_answers() -> None:
    draw = np.random.default_rng(1)
    truth = draw.integers(0, 2, (30, 2)).astype(float)
    scores = np.clip(truth * 0.4 + draw.random((30, 2)) * 0.6, 0, 1)
    truth[3, 0] = np.nan
    names = [f"c{i}" for i in range(30)]
    found = evaluate_several(labels("several", "effusion", "nodule"), names, names, truth, scores, resamples=50)
    known = ~np.isnan(truth[:, 0])
    assert found.per_class["effusion"]["auc"].value == pytest.approx(
        reference.roc_auc_score(truth[known, 0], scores[known, 0])
    )
    assert sum(found.decisions["effusion"].model_dump().values()) == 29
    assert any("1 of 60 answers" in note for note in found.notes)


def test_grades_put_the_farthest_miss_first() -> None:
    probabilities = np.eye(4)[[0, 0, 2, 3]] * 0.9 + 0.025
    found = evaluate_grades(
        labels("grades", "0", "1", "2", "3"),
        list("abcd"),
        list("abcd"),
        np.array([3, 1, 2, 3]),
        probabilities,
        resamples=50,
    )
    assert found.per_case[0].name == "a"
    assert found.per_case[0].score == 3
    assert found.metrics["grade_error"].value == 1


def test_numbers_put_the_largest_error_first_and_state_coverage() -> None:
    truth, prediction = np.arange(8.0), np.arange(8.0) + np.array([0, 1, 0, -5, 0, 1, 0, 1])
    names = list("abcdefgh")
    found = evaluate_numbers(
        LabelSet(kind="number", unit="mo"), names, names, truth, prediction, half_width=2, resamples=50
    )
    assert found.per_case[0].name == "d"
    assert found.metrics["coverage"].value == 7 / 8
    assert found.metrics["mae"].value == 1


def _mask_case(truth: tuple[int, int], prediction: tuple[int, int], *, known: bool = True) -> CaseScores:
    """A bar of label 5 and one of label 9, each given by its length."""
    arrays = []
    for first, second in (truth, prediction):
        mask = np.zeros((12, 12), np.uint8)
        mask[2, :first], mask[8, :second] = 5, 9
        arrays.append(mask)
    return score_mask(arrays[0], arrays[1], MASK_LABELS, (2.0, 0.5), known)


MASK_LABELS = labels("mask", "liver", "tumour", values=(5, 9))


def test_masks_are_scored_by_their_values_in_millimetres() -> None:
    scores = _mask_case((10, 4), (6, 4))
    liver = scores.labels["liver"].scores
    assert liver["dice"] == pytest.approx(12 / 16)
    assert liver["area_error_mm2"] == -4
    assert liver["area_error_percent"] == -40
    assert liver["hd95_mm"] == pytest.approx(np.percentile([0] * 6 + [0.5, 1, 1.5, 2], 95))
    assert scores.labels["tumour"].scores["hd95_mm"] == 0


def test_masks_of_unknown_spacing_are_in_pixels_and_say_so() -> None:
    scores = _mask_case((10, 4), (6, 4), known=False)
    assert scores.labels["liver"].scores["area_error_px"] == -4
    found = evaluate_masks(MASK_LABELS, [scores, scores], ["a", "b"], ["a", "b"], resamples=20)
    assert found.unit == "px"
    assert "hd95_px" in found.metrics
    assert any("in pixels" in note for note in found.notes)


def test_missed_invented_and_absent_masks_are_counted_apart() -> None:
    cases = [_mask_case(*pair) for pair in [((4, 0), (4, 0)), ((4, 3), (4, 0)), ((4, 0), (4, 2)), ((4, 3), (4, 3))]]
    found = evaluate_masks(MASK_LABELS, cases, list("abcd"), list("abcd"), resamples=50)
    assert found.undefined["tumour"] == {"found": 1, "missed": 1, "invented": 1, "absent": 1}
    tumour = found.per_class["tumour"]
    assert tumour["dice"].value == pytest.approx(1 / 3)  # absent does not count, missed and invented are 0
    assert tumour["dice"].n == 3
    assert tumour["hd95_mm"].n == 1
    assert found.metrics["dice"].value == pytest.approx((1 + 1 / 3) / 2)
    assert found.per_case[0].note in ("tumour missed", "tumour invented")


def test_volumes_have_volume_keys() -> None:
    mask = np.zeros((4, 4, 4), int)
    mask[1:3, 1:3, 1:3] = 5
    scores = score_mask(mask, mask, MASK_LABELS, (1, 1, 2), True).labels["liver"].scores
    assert {"hd95_mm", "asd_mm", "nsd", "volume_error_mm3", "volume_error_percent"} <= set(scores)


def test_masks_on_two_grids_are_refused() -> None:
    with pytest.raises(GridMismatch, match="different grids"):
        score_mask(np.zeros((3, 3)), np.zeros((3, 4)), MASK_LABELS, (1, 1), True)


def test_masks_with_and_without_spacing_are_not_averaged() -> None:
    mixed = [_mask_case((4, 4), (4, 4)), _mask_case((4, 4), (4, 4), known=False)]
    with pytest.raises(UsageError, match="differ in unit"):
        evaluate_masks(MASK_LABELS, mixed, ["a", "b"], ["a", "b"])


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        evaluate_classes(labels("classes", "a", "b"), ["x"], ["x", "y"], np.array([0]), np.array([[0.5, 0.5]]))
    with pytest.raises(UsageError, match="one column for each of the labels"):
        evaluate_classes(labels("classes", "a", "b"), ["x"], ["x"], np.array([0]), np.array([[1.0]]))
    with pytest.raises(UsageError, match="at least one case"):
        evaluate_masks(MASK_LABELS, [], [], [])


def test_importing_the_evaluation_loads_no_heavy_library() -> None:
    import subprocess
    import sys

    code = (
        "import sys, osler.assurance.evaluation, osler.assurance.page;"
        "print([m for m in ('torch', 'scipy', 'sklearn', 'PIL') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
