"""2D segmentation of the left ventricle, five folds by patient, in 10 minutes; apical slices apart."""

from __future__ import annotations

from _runs import DATA, compare, figure_of, peer, train
from _table import Row, write_table

PATIENT = r"^(.*?)-IM"
SMALL = (
    0.25  # apical slices have no mark in this set: the quarter of slices with the smallest ventricle stands for them
)


def _smallest(names_and_areas: dict[str, int]) -> set[str]:
    ordered = sorted(names_and_areas, key=lambda name: names_and_areas[name])
    return set(ordered[: round(SMALL * len(ordered))])


def _areas() -> dict[str, int]:
    import osler

    dataset = osler.open_dataset(DATA / "cardiac-mr", patient=PATIENT)
    cases = [dataset.load(record) for record in dataset.records if record.answered]
    return {case.record.name: int((case.mask.array > 0).sum()) for case in cases if case.mask is not None}


if __name__ == "__main__":
    _, ours = train("cardiac", DATA / "cardiac-mr", "--budget", "10m", "--folds", "5", "--patient", PATIENT)
    theirs = peer("plain_unet", DATA / "cardiac-mr", ours, seconds=600, folds=5, patient=PATIENT)
    rows = [Row(**compare("Dice", ours.metrics["dice"], figure_of(theirs, "dice"), must_reach="0.90"))]
    small = _smallest(_areas())
    for title, chosen in (("smallest quarter of slices (apical)", True), ("the other slices", False)):
        both = [
            [case.score for case in which.per_case if (case.name in small) == chosen and case.score is not None]
            for which in (ours, theirs)
            if which is not None
        ]
        means = [sum(scores) / len(scores) for scores in both]
        beside = means[1] if len(means) > 1 else None
        rows.append(Row(f"Dice, {title}", means[0], n=f"{len(both[0])} cases", peer=beside))
    write_table(
        "cardiac",
        "Left ventricle (2D cine MR), five folds by patient, 10 minutes",
        rows,
        peer="plain MONAI BasicUNet, same time",
        notes=["Every slice is measured by the fold that never saw its patient."],
    )
