"""A plain classification script of MONAI's parts with MONAI's defaults: what a user writes in an afternoon.

ResNet-18, images resized to one shape, rotation, flips and zoom as in MONAI's tutorials, cross-entropy, AdamW.

    python plain_resnet.py DATA REQUEST.json ANSWER.json
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from _common import Request, carry_out, steps
from monai.data import CacheDataset, DataLoader
from monai.networks.nets import resnet18
from monai.transforms import Compose, RandFlipd, RandRotated, RandZoomd, Resized, ScaleIntensityd

from osler.assurance.evaluation import evaluate_classes
from osler.assurance.results import Evaluation
from osler.datasets.dataset import Case, Dataset

BATCH = 32
LARGEST = 128


def _grey(case: Case) -> np.ndarray:
    return case.study.image.array.astype(np.float32).mean(axis=0, keepdims=True)


def train_and_predict(request: Request) -> list[object]:
    """Train for ``seconds``; the test cases' probabilities (labels,)."""
    classes = len(request.dataset.labels.labels)
    shape = np.median([case.study.image.shape for case in request.training], axis=0)
    side = int(min(LARGEST, shape.min()))
    prepare = [ScaleIntensityd("image"), Resized("image", (side,) * len(shape))]
    augment = [
        RandRotated("image", range_x=np.pi / 12, prob=0.5, keep_size=True),
        RandFlipd("image", spatial_axis=0, prob=0.5),
        RandZoomd("image", min_zoom=0.9, max_zoom=1.1, prob=0.5),
    ]
    items = [{"image": _grey(case), "target": int(str(case.target))} for case in request.training]
    training = CacheDataset(items, Compose([*prepare, *augment]), progress=False)
    loader = DataLoader(
        training, batch_size=BATCH, shuffle=True, drop_last=True, num_workers=1, persistent_workers=True
    )
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    network = resnet18(spatial_dims=len(shape), n_input_channels=1, num_classes=classes)
    loss = torch.nn.CrossEntropyLoss()
    for optimiser, batch in zip(steps(network.parameters(), request.seconds), batches, strict=False):
        optimiser.zero_grad()
        loss(network(batch["image"].as_tensor()), batch["target"]).backward()
        optimiser.step()
    network.eval()
    prepared = Compose(prepare)
    with torch.inference_mode():
        images = [prepared({"image": _grey(case)})["image"].as_tensor() for case in request.test]
        return [
            row.numpy()
            for start in range(0, len(images), 64)
            for row in network(torch.stack(images[start : start + 64])).softmax(1)
        ]


def score(dataset: Dataset, cases: list[Case], predictions: list[object]) -> Evaluation:
    """With Osler's own metric functions."""
    names, patients = [case.record.name for case in cases], [case.record.patient for case in cases]
    targets = np.array([int(str(case.target)) for case in cases])
    probabilities = np.array(predictions, dtype=np.float64)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    return evaluate_classes(dataset.labels, names, patients, targets, probabilities, name="plain MONAI ResNet-18")


if __name__ == "__main__":
    carry_out(train_and_predict, score)
