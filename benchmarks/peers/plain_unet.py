"""A plain segmentation script of MONAI's parts with MONAI's defaults: what a user writes in an afternoon.

BasicUNet, crops around foreground and background, flips, intensity, Dice with cross-entropy, AdamW, sliding windows.
It needs data of one spacing, as the benchmarks' are.

    python plain_unet.py DATA REQUEST.json ANSWER.json
"""

from __future__ import annotations

import itertools

import numpy as np
import torch
from _common import Request, carry_out, steps
from monai.data import CacheDataset, DataLoader
from monai.inferers import sliding_window_inference
from monai.losses import DiceCELoss
from monai.networks.nets import BasicUNet
from monai.transforms import (
    Compose,
    NormalizeIntensityd,
    RandCropByPosNegLabeld,
    RandFlipd,
    RandScaleIntensityd,
    RandShiftIntensityd,
    SpatialPadd,
)

from osler.assurance.evaluation import evaluate_masks, score_mask
from osler.assurance.results import Evaluation
from osler.datasets.dataset import Case, Dataset

BATCH = 2
CROPS = 4


def _arrays(case: Case, values: tuple[int, ...]) -> dict[str, np.ndarray]:
    image = np.concatenate([image.array for image in case.study.images.values()]).astype(np.float32)
    mask = np.zeros((1, *image.shape[1:]), np.int64)
    if case.mask is not None:
        for index, value in enumerate(values):
            mask[case.mask.array[:1] == value] = index + 1
    return {"image": image, "mask": mask}


def _patch(cases: list[Case]) -> tuple[int, ...]:
    median = np.median([case.study.image.shape for case in cases], axis=0)
    largest = 96 if len(median) == 3 else 256
    return tuple(int(min(largest, np.ceil(length / 16) * 16)) for length in median)


def train_and_predict(request: Request) -> list[object]:
    """Train for ``seconds``; the test cases' masks in the data set's values."""
    values, patch = request.dataset.labels.values, _patch(request.training)
    normalise = NormalizeIntensityd("image", channel_wise=True)
    axes = range(len(patch))
    transform = Compose(
        [
            normalise,
            SpatialPadd(["image", "mask"], patch),
            RandCropByPosNegLabeld(["image", "mask"], "mask", patch, num_samples=CROPS),
            *(RandFlipd(["image", "mask"], prob=0.5, spatial_axis=axis) for axis in axes),
            RandScaleIntensityd("image", factors=0.1, prob=0.5),
            RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        ]
    )
    training = CacheDataset([_arrays(case, values) for case in request.training], transform, progress=False)
    loader = DataLoader(training, batch_size=BATCH, shuffle=True, num_workers=1, persistent_workers=True)
    batches = itertools.chain.from_iterable(itertools.repeat(loader))
    channels = _arrays(request.training[0], values)["image"].shape[0]
    network = BasicUNet(spatial_dims=len(patch), in_channels=channels, out_channels=len(values) + 1)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    for optimiser, batch in zip(steps(network.parameters(), request.seconds), batches, strict=False):
        optimiser.zero_grad()
        loss(network(batch["image"].as_tensor()), batch["mask"].as_tensor()).backward()
        optimiser.step()
    network.eval()
    lookup = np.array([0, *values])
    predicted: list[object] = []
    with torch.inference_mode():
        for case in request.test:
            image = torch.as_tensor(normalise(_arrays(case, values))["image"])[None]
            logits = sliding_window_inference(image, patch, 4, network)
            predicted.append(lookup[np.asarray(logits.argmax(1)[0])])
    return predicted


def score(dataset: Dataset, cases: list[Case], predictions: list[object]) -> Evaluation:
    """With Osler's own metric functions."""
    scores = []
    for case, predicted in zip(cases, predictions, strict=True):
        assert case.mask is not None
        image = case.study.image
        truth = case.mask.array[0]
        scores.append(score_mask(truth, np.asarray(predicted), dataset.labels, image.spacing, image.spacing_known))
    names, patients = [case.record.name for case in cases], [case.record.patient for case in cases]
    return evaluate_masks(dataset.labels, scores, names, patients, name="plain MONAI U-Net")


if __name__ == "__main__":
    carry_out(train_and_predict, score)
