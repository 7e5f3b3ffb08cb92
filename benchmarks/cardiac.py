"""2D segmentation of the left ventricle, five folds by patient, in 10 minutes; apical slices apart."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Callable

from _runs import DATA, compare, figure_of, peer, train
from _table import Row, write_table
from osler.assurance.results import CaseRow, Evaluation

PATIENT = r"^(.*?)-IM"
SMALL = 0.25
"""Apical slices have no mark in this set: the quarter of slices with the smallest ventricle stands for them."""
SHIFTED = "SC-N-06"
"""``osler inspect`` names this patient alone: all its masks are shifted against the pictures."""


def _smallest(names_and_areas: dict[str, int]) -> set[str]:
    ordered = sorted(names_and_areas, key=lambda name: names_and_areas[name])
    return set(ordered[: round(SMALL * len(ordered))])


def _areas() -> dict[str, int]:
    import osler

    dataset = osler.open_dataset(DATA / "cardiac-mr", patient=PATIENT)
    cases = [dataset.load(record) for record in dataset.records if record.answered]
    return {case.record.name: int((case.mask.array > 0).sum()) for case in cases if case.mask is not None}


def _mean_of_patients(evaluation: Evaluation, areas: dict[str, int]) -> float:
    """Dice of all slices of a patient taken as one mask, averaged over patients; from each slice's Dice and area."""
    overlap: dict[str, float] = defaultdict(float)
    both: dict[str, float] = defaultdict(float)
    for case in evaluation.per_case:
        found = 2 * areas[case.name] + (case.scores["foreground: area_error_px"] or 0)
        patient = case.patient or case.name
        overlap[patient] += (case.score or 0) * found
        both[patient] += found
    return statistics.mean(overlap[patient] / both[patient] for patient in both)


def _mean(evaluation: Evaluation, chosen: Callable[[CaseRow], bool]) -> float:
    return statistics.mean(case.score for case in evaluation.per_case if case.score is not None and chosen(case))


if __name__ == "__main__":
    _, ours = train("cardiac", DATA / "cardiac-mr", "--budget", "10m", "--folds", "5", "--patient", PATIENT)
    theirs = peer("plain_unet", DATA / "cardiac-mr", ours, seconds=600, folds=5, patient=PATIENT)
    rows = [Row(**compare("Dice", ours.metrics["dice"], figure_of(theirs, "dice"), must_reach="0.90"))]
    areas = _areas()
    rows.append(
        Row(
            "Dice of a patient, all slices together",
            _mean_of_patients(ours, areas),
            n="30 patients",
            peer=_mean_of_patients(theirs, areas) if theirs else None,
        )
    )
    small = _smallest(areas)
    parts: list[tuple[str, Callable[[CaseRow], bool]]] = [
        ("smallest quarter of slices (apical)", lambda case: case.name in small),
        ("the other slices", lambda case: case.name not in small),
        (f"without {SHIFTED}, whose masks lie beside the ventricle", lambda case: case.patient != SHIFTED),
    ]
    for title, chosen in parts:
        count = sum(1 for case in ours.per_case if chosen(case))
        beside = _mean(theirs, chosen) if theirs else None
        rows.append(Row(f"Dice, {title}", _mean(ours, chosen), n=f"{count} cases", peer=beside))
    write_table(
        "cardiac",
        "Left ventricle (2D cine MR), five folds by patient, 10 minutes",
        rows,
        peer="plain MONAI BasicUNet, same time",
        notes=["Every slice is measured by the fold that never saw its patient."],
    )
