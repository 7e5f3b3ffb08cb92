"""MODEL SCAN MASK [--labels]: what people write with MONAI to label a scan with a network: its own transforms, eager
float32. With ``--labels`` the labels go back onto the scan's grid and not the probabilities of each class: 25 of
512×512×300 do not fit into 24 GB.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from monai.data import MetaTensor, decollate_batch
from monai.inferers import sliding_window_inference
from monai.transforms import (
    AsDiscreted,
    Compose,
    EnsureChannelFirstd,
    Invertd,
    LoadImaged,
    Orientationd,
    SaveImaged,
    ScaleIntensityRanged,
    Spacingd,
)

from osler.inference.windows import gaussian
from osler.learning.export import load_network
from osler.models.folder import Model

if __name__ == "__main__":
    torch.set_num_threads(2)
    model, scan, target = Model.open(sys.argv[1]), sys.argv[2], Path(sys.argv[3])
    as_labels = "--labels" in sys.argv
    plan, network = model.plan, load_network(model)
    limits = plan.normalisation[0]
    low, high = ((value - limits.mean) / limits.std for value in (limits.low, limits.high))
    before = Compose(
        [
            LoadImaged("image"),
            EnsureChannelFirstd("image"),
            Orientationd("image", axcodes="RAS"),
            ScaleIntensityRanged("image", limits.low, limits.high, low, high, clip=True),
            Spacingd("image", plan.grid.spacing, mode="bilinear", align_corners=False),
        ]
    )
    back = Invertd("pred", transform=before, orig_keys="image", nearest_interp=as_labels, to_tensor=True)
    choice = AsDiscreted("pred", argmax=True)
    after = Compose(
        [
            *((choice, back) if as_labels else (back, choice)),
            SaveImaged(
                "pred",
                output_dir=target.parent,
                output_postfix="",
                separate_folder=False,
                output_dtype="uint8",
                output_name_formatter=lambda _meta, _self: {
                    "subject": target.name.removesuffix(".nii.gz"),
                    "idx": None,
                },
                print_log=False,
            ),
        ]
    )
    data = before({"image": scan})
    with torch.inference_mode():
        logits = sliding_window_inference(
            data["image"][None],
            plan.patch,
            1,
            lambda window: network({"image": window.as_tensor() if isinstance(window, MetaTensor) else window})[
                "logits"
            ],
            overlap=plan.overlap,
            mode="gaussian",
            roi_weight_map=torch.from_numpy(gaussian(plan.patch, plan.window_weights)),
        )
    data["pred"] = decollate_batch(logits)[0]
    del logits
    after(data)
