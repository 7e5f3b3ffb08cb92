"""3D MR segmentation: Dice of both parts of the hippocampus with 15 and with 2 minutes."""

from __future__ import annotations

import sys

from _runs import DATA, compare, figure_of, peer, train
from _table import Row, write_table

_NNUNET = {"Anterior": "nnU-Net .8975 (five folds, 1000 epochs, GPU)", "Posterior": "nnU-Net .8807 (same)"}
_BUDGETS = {"15m": 900.0, "2m": 120.0}
_ASKED = [budget for budget in _BUDGETS if budget in sys.argv] or list(_BUDGETS)
_MUST = {"Anterior": "0.885", "Posterior": "0.868"}


def _rows(budget: str, seconds: float) -> list[Row]:
    _, ours = train(f"hippocampus-{budget}", DATA / "hippocampus", "--budget", budget)
    theirs = peer("plain_unet", DATA / "hippocampus", ours, seconds=seconds)
    rows = []
    for label, figures in ours.per_class.items():
        more = {"must_reach": _MUST.get(label, ""), "reference": _NNUNET.get(label, "")} if budget == "15m" else {}
        rows.append(
            Row(**compare(f"{budget}, Dice {label}", figures["dice"], figure_of(theirs, "dice", label), **more))
        )
    must = "0.855" if budget == "2m" else ""
    rows.append(
        Row(**compare(f"{budget}, Dice mean", ours.metrics["dice"], figure_of(theirs, "dice"), must_reach=must))
    )
    return rows


if __name__ == "__main__":
    for asked in _ASKED:
        write_table(
            f"hippocampus_{asked}",
            f"Hippocampus (3D MR, two parts), {asked}",
            _rows(asked, _BUDGETS[asked]),
            peer="plain MONAI BasicUNet, same time",
            notes=["Test volumes were seen neither by training nor by calibration; the peer trains on all the others."],
        )
