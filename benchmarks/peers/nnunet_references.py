"""Small nnU-Net models of many kinds with random weights, and what nnU-Net itself answers with them: the references of
``tests/workflows/test_convert.py``.

    PYTHON_WITH_NNUNETV2 benchmarks/peers/nnunet_references.py OUTPUT

Runs in an environment of its own with nnunetv2 2.8.1 (it needs timm, which needs torchvision, so it can be no
dependency here): nnU-Net builds the network, prepares the study, predicts, and brings the probabilities back. Each
model is a folder as nnUNetv2_train leaves it, with ``image*`` and ``reference.npz`` beside it, as OUTPUT/NAME.zip. The
reference has ``labels`` (uint8) and ``probabilities`` (integers of 1/65535), both z, y, x; of some also ``mirrored``,
the probabilities averaged over mirrored copies.

nnU-Net sums windows in half precision, in which a logit at the corner of a study can be wrong by 0.5. Here its sums are
made float32, so that what is compared is the method; ``--half`` leaves them as they are.
"""

from __future__ import annotations

import copy
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import nibabel
import nnunetv2.inference.predict_from_raw_data as predicting
import numpy as np
import torch
from nnunetv2.imageio.natural_image_reader_writer import NaturalImage2DIO
from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
from nnunetv2.utilities.get_network_from_plans import get_network_from_plans
from PIL import Image
from scipy.ndimage import gaussian_filter

CLASSES = "dynamic_network_architectures.architectures.unet."
CT = {"mean": 40.0, "std": 120.0, "percentile_00_5": -150.0, "percentile_99_5": 240.0, "median": 50.0}


def architecture(name: str, dimensions: int, strides: list[Any], kernels: list[Any], features: list[int]) -> Any:
    """As nnU-Net's planners write it."""
    levels = len(features)
    blocks = "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage"
    return {
        "network_class_name": CLASSES + name,
        "arch_kwargs": {
            "n_stages": levels,
            "features_per_stage": features,
            "conv_op": f"torch.nn.modules.conv.Conv{dimensions}d",
            "kernel_sizes": kernels,
            "strides": strides,
            blocks: [1, *[2] * (levels - 1)],
            "n_conv_per_stage_decoder": [2, *[1] * (levels - 2)],
            "conv_bias": True,
            "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dimensions}d",
            "norm_op_kwargs": {"eps": 1e-05, "affine": True},
            "dropout_op": None,
            "dropout_op_kwargs": None,
            "nonlin": "torch.nn.LeakyReLU",
            "nonlin_kwargs": {"inplace": True},
        },
        "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
    }


def plans(
    spacing: list[float],
    patch: list[int],
    schemes: list[str],
    network: Any,
    *,
    masked: bool = False,
    transpose: tuple[int, int, int] = (0, 1, 2),
    configuration: str = "3d_fullres",
    reader: str = "SimpleITKIO",
    original: tuple[list[float], list[float]] | None = None,
) -> dict[str, Any]:
    """plans.json."""
    resampling = "resample_data_or_seg_to_shape"
    settings = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    found = original or (spacing if len(spacing) == 3 else [3.0, *spacing], [20, 24, 28])
    return {
        "dataset_name": "Dataset999_Small",
        "plans_name": "nnUNetPlans",
        "original_median_spacing_after_transp": found[0],
        "original_median_shape_after_transp": found[1],
        "image_reader_writer": reader,
        "transpose_forward": list(transpose),
        "transpose_backward": list(np.argsort(transpose).tolist()),
        "configurations": {
            configuration: {
                "data_identifier": "x",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": patch,
                "median_image_size_in_voxels": found[1][-len(patch) :],
                "spacing": spacing,
                "normalization_schemes": schemes,
                "use_mask_for_norm": [masked] * len(schemes),
                "resampling_fn_data": resampling,
                "resampling_fn_seg": resampling,
                "resampling_fn_data_kwargs": settings,
                "resampling_fn_seg_kwargs": {**settings, "is_seg": True, "order": 1},
                "resampling_fn_probabilities": resampling,
                "resampling_fn_probabilities_kwargs": {**settings, "order": 1},
                "batch_dice": True,
                **network,
            }
        },
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {str(n): CT for n in range(len(schemes))},
    }


def smooth(shape: tuple[int, ...], seed: int) -> np.ndarray:
    """Lumps of about three voxels between -200 and 300, as float32."""
    noise = gaussian_filter(np.random.default_rng(seed).normal(size=shape), 1.5)
    return (noise / np.abs(noise).max() * 250 + 50).astype(np.float32)


def volume(path: Path, shape: tuple[int, ...], spacing: tuple[float, ...], seed: int, *, border: int = 0) -> None:
    """A NIfTI volume of (I, J, K) voxels, to the left and posterior, with a border of 0."""
    array = smooth(shape, seed)
    if border:
        inside = np.zeros(shape, bool)
        inside[border:-border, border + 1 : -border, 1:-2] = True
        array = np.where(inside, np.round(array) + 300, 0).astype(np.float32)
    affine = np.diag([-spacing[0], -spacing[1], spacing[2], 1.0])
    nibabel.save(nibabel.Nifti1Image(np.round(array).astype(np.int16), affine), path)


def write_model(folder: Path, plan: dict[str, Any], labels: dict[str, Any], names: list[str], **more: Any) -> Path:
    """The folder that nnUNetv2_train would leave, with random weights that disagree enough to be told apart."""
    configuration = next(iter(plan["configurations"]))
    place = folder / f"nnUNetTrainer__nnUNetPlans__{configuration}"
    place.mkdir(parents=True)
    dataset = {
        "channel_names": {str(n): name for n, name in enumerate(names)},
        "labels": labels,
        "numTraining": 10,
        "file_ending": more.pop("ending", ".nii.gz"),
        **{key: value for key, value in more.items() if key == "regions_class_order"},
    }
    (place / "plans.json").write_text(json.dumps(plan))
    (place / "dataset.json").write_text(json.dumps(dataset))
    described = plan["configurations"][configuration].get("architecture") or more["architecture"]
    regions = any(isinstance(value, list) for value in labels.values())
    outputs = len(labels) - 1 if regions else len(labels)
    for fold in range(more.get("folds", 1)):
        torch.manual_seed(17 + fold)
        network = get_network_from_plans(
            described["network_class_name"],
            described["arch_kwargs"],
            described["_kw_requires_import"],
            len(names),
            outputs,
            deep_supervision=True,
        )
        for name, weight in network.named_parameters():
            if ".norm." in name or "seg_layers" in name:
                torch.nn.init.normal_(weight, mean=1.0 if name.endswith("norm.weight") else 0.0, std=0.5)
        centre(network, len(names), plan["configurations"][configuration]["patch_size"])
        (place / f"fold_{fold}").mkdir()
        content = {
            "network_weights": network.state_dict(),
            "optimizer_state": {"state": {}, "param_groups": [{"lr": 0.01, "params": [0, 1]}]},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.5)], "train_losses": [np.float32(-0.1)]},
            "_best_ema": np.float64(0.5),
            "current_epoch": 3,
            "init_args": {"configuration": configuration, "fold": fold, "device": torch.device("cpu"), "plans": plan},
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": tuple(range(len(plan["configurations"][configuration]["patch_size"]))),
        }
        torch.save(content, place / f"fold_{fold}" / "checkpoint_final.pth")
    return place


def centre(network: torch.nn.Module, inputs: int, patch: list[int]) -> None:
    """Make all answers about equally frequent."""
    with torch.no_grad():
        logits = network.eval()(torch.randn(1, inputs, *patch))[0]
        network.decoder.seg_layers[-1].bias -= logits.mean(dim=(0, *range(2, logits.ndim)))


class FullPrecision:
    """torch for the module that sums the windows, where half precision is float32."""

    half = torch.float32

    def __getattr__(self, name: str) -> Any:
        return getattr(torch, name)


def sum_in_float32() -> None:
    """Make nnU-Net's sums over windows exact."""
    half = predicting.compute_gaussian
    predicting.compute_gaussian = lambda *more, **settings: half(*more, **{**settings, "dtype": torch.float32})
    predicting.torch = FullPrecision()


def refer(folder: Path, place: Path, reader: Any, files: list[Path], *, mirrored: bool = False) -> None:
    """Let nnU-Net predict."""
    answers = {}
    for name, mirror in (("probabilities", False), *((("mirrored", True),) if mirrored else ())):
        predictor = nnUNetPredictor(use_mirroring=mirror, device=torch.device("cpu"), allow_tqdm=False)
        folds = [int(fold.name[5:]) for fold in sorted(place.glob("fold_*"))]
        predictor.initialize_from_trained_model_folder(str(place), folds, "checkpoint_final.pth")
        array, properties = reader.read_images([str(file) for file in files])
        labels, probabilities = predictor.predict_single_npy_array(array, properties, None, None, True)
        answers[name] = np.round(np.asarray(probabilities, np.float64) * 65535).astype(np.uint16)
        if not mirror:
            answers["labels"] = labels.astype(np.uint8)
    print(folder.name, "voxels by label:", np.bincount(answers["labels"].reshape(-1)).tolist())
    np.savez_compressed(folder / "reference.npz", **answers)
    shutil.make_archive(str(folder), "zip", folder)
    shutil.rmtree(folder)


def main(output: Path) -> None:
    """All models."""
    torch.set_num_threads(1)
    if "--half" not in sys.argv:
        sum_in_float32()
    slices = [[1, 3, 3], [3, 3, 3], [3, 3, 3]]
    steps = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    cubes, halves = [[3, 3, 3]] * 2, [[1, 1, 1], [2, 2, 2]]
    three = {"background": 0, "one": 1, "two": 2}

    folder = output / "ct-anisotropic"
    net = architecture("PlainConvUNet", 3, steps, slices, [4, 6, 8])
    plan = plans([4.0, 1.0, 1.0], [8, 16, 16], ["CTNormalization"], {"architecture": net})
    place = write_model(folder, plan, three, ["CT"])
    volume(folder / "image_0000.nii.gz", (27, 31, 14), (0.8, 0.8, 3.0), 1)
    refer(folder, place, SimpleITKIO(), [folder / "image_0000.nii.gz"])

    folder = output / "resenc-masked"
    net = architecture("ResidualEncoderUNet", 3, halves, cubes, [4, 6])
    plan = plans(
        [1.2, 1.0, 1.1], [12, 12, 16], ["ZScoreNormalization", "NoNormalization"], {"architecture": net},
        masked=True, transpose=(1, 2, 0),
    )  # fmt: skip
    place = write_model(folder, plan, three, ["T1", "map"])
    volume(folder / "image_0000.nii.gz", (22, 19, 17), (1.0, 1.3, 1.5), 2, border=3)
    volume(folder / "image_0001.nii.gz", (22, 19, 17), (1.0, 1.3, 1.5), 3, border=2)
    files = [folder / "image_0000.nii.gz", folder / "image_0001.nii.gz"]
    refer(folder, place, SimpleITKIO(), files, mirrored=True)

    folder = output / "slices-2d"
    net = architecture("PlainConvUNet", 2, [[1, 1], [2, 2], [2, 1]], [[3, 3], [3, 3], [3, 1]], [4, 6, 8])
    plan = plans(
        [1.0, 1.2], [24, 16], ["RescaleTo01Normalization"], {"architecture": net}, transpose=(2, 0, 1),
        configuration="2d",
    )  # fmt: skip
    place = write_model(folder, plan, three, ["MR"])
    volume(folder / "image_0000.nii.gz", (7, 25, 30), (5.0, 1.3, 0.9), 4, border=1)
    refer(folder, place, SimpleITKIO(), [folder / "image_0000.nii.gz"], mirrored=True)

    folder = output / "regions-ensemble"
    net = architecture("ResidualUNet", 3, halves, cubes, [4, 6])
    plan = plans([1.0, 1.0, 1.0], [16, 16, 16], ["ZScoreNormalization"], {"architecture": net})
    regions = {"background": 0, "whole": [1, 2, 3], "core": [2, 3], "enhancing": [3]}
    place = write_model(folder, plan, regions, ["T1"], regions_class_order=[1, 2, 3], folds=2)
    volume(folder / "image_0000.nii.gz", (18, 21, 24), (1.1, 1.0, 1.0), 5)
    refer(folder, place, SimpleITKIO(), [folder / "image_0000.nii.gz"])

    folder = output / "pictures-rgb"
    net = architecture("PlainConvUNet", 2, [[1, 1], [2, 2]], [[3, 3]] * 2, [4, 6])
    plan = plans(
        [1.0, 1.0], [16, 32], ["RGBTo01Normalization"] * 3, {"architecture": net}, configuration="2d",
        reader="NaturalImage2DIO", original=([999.0, 1.0, 1.0], [1, 30, 40]),
    )  # fmt: skip
    place = write_model(folder, plan, three, ["R", "G", "B"], ending=".png")
    colours = np.stack([smooth((29, 45), seed) for seed in (6, 7, 8)], axis=-1)
    Image.fromarray(np.clip(colours + 50, 0, 255).astype(np.uint8)).save(folder / "image_0000.png")
    refer(folder, place, NaturalImage2DIO(), [folder / "image_0000.png"])

    folder = output / "old-plans"
    net = architecture("PlainConvUNet", 3, halves, cubes, [4, 8])
    old = {
        "UNet_class_name": "PlainConvUNet",
        "UNet_base_num_features": 4,
        "n_conv_per_stage_encoder": [1, 2],
        "n_conv_per_stage_decoder": [2],
        "num_pool_per_axis": [1, 1, 1],
        "pool_op_kernel_sizes": halves,
        "conv_kernel_sizes": cubes,
        "unet_max_num_features": 320,
    }
    plan = plans([2.0, 2.0, 2.0], [12, 12, 12], ["CTNormalization"], old)
    place = write_model(folder, plan, three, ["CT"], architecture=copy.deepcopy(net))
    volume(folder / "image_0000.nii.gz", (26, 22, 24), (1.0, 1.5, 1.0), 9)
    refer(folder, place, SimpleITKIO(), [folder / "image_0000.nii.gz"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
