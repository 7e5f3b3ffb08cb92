"""2D X-ray classification with the official splits of MedMNIST, in 5 minutes."""

from __future__ import annotations

from _classification import measure
from _runs import DATA

if __name__ == "__main__":
    measure(
        "pneumonia",
        "PneumoniaMNIST (2D X-ray, 28 px, official splits), 5 minutes",
        DATA / "pneumoniamnist" / "pneumoniamnist.npz",
        "5m",
        300,
        {
            "auc": ("0.975", "MedMNIST v2: ResNet-18 .944; ResNet-50 at 224 px .962; Google AutoML .991"),
            "accuracy": ("0.92", "the same: .854; .884; .946"),
        },
    )
