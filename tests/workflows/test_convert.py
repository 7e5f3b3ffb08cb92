"""nnU-Net's models here, against what nnU-Net itself answers with them.

``data/nnunet/*.zip`` were made by ``benchmarks/peers/nnunet_references.py`` with nnunetv2 2.8.1.
"""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from osler.cli import main
from osler.datasets.preparation import prepare, restore, restore_labels
from osler.errors import ModelError, OutputExists, PathNotFound, Unknown, UsageError
from osler.inference.predictor import Predictor
from osler.models.folder import Model
from osler.studies.discovery import find_studies
from osler.studies.image import Image
from osler.workflows.convert import convert
from osler.workflows.evaluate import evaluate
from osler.workflows.predict import predict, read_channels
from osler.workflows.verify import verify

KINDS = sorted(path.stem for path in (Path(__file__).parent / "data" / "nnunet").glob("*.zip"))
STEP = 1 / 65535  # of the reference's probabilities
SLABS = ("ct-anisotropic", "old-plans", "slices-2d")


def unpack(kind: str, folder: Path) -> Path:
    shutil.unpack_archive(Path(__file__).parent / "data" / "nnunet" / f"{kind}.zip", folder)
    return folder


def trained_in(folder: Path) -> Path:
    return next(folder.glob("nnUNetTrainer__*"))


def images_in(folder: Path, model: Model) -> list[Image]:
    (found,) = find_studies(sorted(path for path in folder.iterdir() if path.name.startswith("image")))
    return read_channels(found, model.plan)


def answer_of(model: Model, folder: Path, *, mirror: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Labels (I, J[, K]) and probabilities (O, ...) on the study's own grid."""
    prepared = prepare(images_in(folder, model), model.plan)
    with Predictor(model, mirror=mirror) as predictor:
        answer = predictor.predict(prepared)
    regions = model.plan.regions
    return (
        restore_labels(answer, prepared.trace, model.plan.labels, regions=regions),
        restore(answer, prepared.trace, regions=regions),
    )


def reference_of(folder: Path, dimensions: int, kind: str = "probabilities") -> tuple[np.ndarray, np.ndarray]:
    stored = np.load(folder / "reference.npz")
    labels, probabilities = stored["labels"], stored[kind] * STEP
    if dimensions == 2:
        labels, probabilities = labels[0], probabilities[:, 0]
    return labels.T, probabilities.transpose(0, *range(probabilities.ndim - 1, 0, -1))


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_probabilities_are_nnunets_own(kind: str, tmp_path: Path) -> None:
    folder = unpack(kind, tmp_path / "nnunet")
    converted = convert(folder, output=tmp_path / "model")
    labels, probabilities = answer_of(converted.model, folder)
    expected, expected_probabilities = reference_of(folder, converted.model.plan.dimensions)
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(probabilities, expected_probabilities, atol=5e-5)
    with Predictor(converted.model) as predictor:  # slab by slab, where the study goes that way
        images = images_in(folder, converted.model)
        assert predictor.takes_slabs(images) == (kind in SLABS)
        if kind in SLABS:
            np.testing.assert_array_equal(predictor.label(images)[1].mask, expected)
    assert len(np.unique(labels)) >= 3
    assert all(one.same_answer > 0.999 for one in converted.parity)


@pytest.mark.parametrize("kind", ["resenc-masked", "slices-2d"])
def test_mirroring_is_nnunets_too(kind: str, tmp_path: Path) -> None:
    folder = unpack(kind, tmp_path / "nnunet")
    model = convert(folder, output=tmp_path / "model").model
    _, probabilities = answer_of(model, folder, mirror=True)
    np.testing.assert_allclose(probabilities, reference_of(folder, 3, "mirrored")[1], atol=5e-5)
    assert np.abs(probabilities - reference_of(folder, 3)[1]).max() > 0.1


def test_the_real_model_answers_as_nnunet_did(shared: Path, tmp_path: Path) -> None:
    place = shared / "nnunet-hippocampus"
    model = convert(place, output=tmp_path / "model").model
    for truth in sorted((place / "reference").glob("*.nii.gz")):
        image = shared / "hippocampus" / "imagesTr" / truth.name
        (tmp_path / truth.stem).mkdir()
        shutil.copy(image, tmp_path / truth.stem / "image.nii.gz")
        labels, probabilities = answer_of(model, tmp_path / truth.stem)
        expected = np.asarray(nibabel.load(truth).dataobj)
        foreground = (labels > 0) | (expected > 0)
        assert (labels == expected)[foreground].mean() >= 0.995
        with Predictor(model) as predictor:
            by_slabs = predictor.label(images_in(tmp_path / truth.stem, model))[1].mask
        assert (by_slabs == expected)[foreground].mean() >= 0.995
        stored = truth.with_name(truth.name.replace(".nii.gz", ".npz"))
        if stored.is_file():
            reference = np.load(stored)
            theirs = reference[reference.files[0]].transpose(0, 3, 2, 1)
            assert np.abs(probabilities - theirs).max() < 5e-3


def test_a_model_says_where_it_came_from_and_what_is_not_known(tmp_path: Path) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    model = convert(folder, output=tmp_path / "model", intended_use="tests").model
    assert model.info.lineage["trainer"] == ["nnUNetTrainer"]
    assert model.info.lineage["checkpoints"].keys() == {"fold_0/checkpoint_final.pth"}
    assert model.info.lineage["epochs"] == [3]
    assert model.plan.mirror_axes == (0, 1, 2)
    assert (model.plan.modality, model.info.data.split_by, model.info.data.train) == ("CT", "unknown", 10)
    card = (model.path / "card.md").read_text()
    assert "converted, not trained, by Osler" in card
    assert "It was not measured." in card
    checked = verify(model)
    assert checked.faults == ()
    assert "by another program" in "\n".join(checked.summary())


def test_a_converted_model_predicts_and_is_evaluated_as_any_other(tmp_path: Path) -> None:
    folder = unpack("old-plans", tmp_path / "nnunet")
    model = convert(folder, output=tmp_path / "model").model
    (predicted,) = predict(model, folder / "image_0000.nii.gz", output=tmp_path / "out").studies
    assert predicted.status == "ok"
    expected = reference_of(folder, 3)[0]
    (mask,) = [path for path in predicted.files if path.name.endswith(".nii.gz")]
    np.testing.assert_array_equal(np.asarray(nibabel.load(mask).dataobj), expected)
    data = tmp_path / "data"
    for part in ("imagesTr", "labelsTr"):
        (data / part).mkdir(parents=True)
    affine = nibabel.load(folder / "image_0000.nii.gz").affine
    for name in ("a", "b"):
        shutil.copy(folder / "image_0000.nii.gz", data / "imagesTr" / f"{name}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(expected, affine), data / "labelsTr" / f"{name}.nii.gz")
    shutil.copy(trained_in(folder) / "dataset.json", data)
    evaluated = evaluate(model, data)
    assert evaluated.evaluation.metrics["dice"].value == 1.0
    assert any("not recorded on which cases" in note for note in evaluated.evaluation.notes)


def test_one_fold_of_several_can_be_chosen(tmp_path: Path) -> None:
    folder = unpack("regions-ensemble", tmp_path / "nnunet")
    both = convert(folder, output=tmp_path / "both").model
    one = convert(folder, output=tmp_path / "one", folds=[1]).model
    assert [member.fold for member in both.info.members] == [0, 1]
    assert [member.fold for member in one.info.members] == [1]
    (found,) = find_studies([folder / "image_0000.nii.gz"])
    prepared = prepare(read_channels(found, one.plan), one.plan)
    with Predictor(both, members=[1]) as part, Predictor(one) as alone:
        np.testing.assert_array_equal(part.predict(prepared), alone.predict(prepared))


def test_studies_are_turned_where_the_pipeline_around_the_model_did_so(tmp_path: Path) -> None:
    folder = unpack("old-plans", tmp_path / "nnunet")
    kept = convert(folder, output=tmp_path / "kept").model
    turned = convert(folder, output=tmp_path / "turned", orientation="LPS").model
    file = nibabel.load(folder / "image_0000.nii.gz")
    assert nibabel.aff2axcodes(file.affine) == ("L", "P", "S")
    expected, _ = answer_of(kept, folder)
    other = tmp_path / "other"
    other.mkdir()
    nibabel.save(nibabel.as_closest_canonical(file), other / "image_0000.nii.gz")
    labels, _ = answer_of(turned, other)
    np.testing.assert_array_equal(labels[::-1, ::-1], expected)
    assert turned.plan.grid.orientation == "LPS"


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def configuration(content: dict[str, Any]) -> dict[str, Any]:
    first: dict[str, Any] = next(iter(content["configurations"].values()))
    return first


def arguments(content: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = configuration(content)["architecture"]["arch_kwargs"]
    return found


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: configuration(c).update(previous_stage="3d_lowres"), "second stage of a cascade.*3d_lowres"),
        (lambda c: configuration(c).update(normalization_schemes=["MyNorm"]), "normalisation MyNorm is not known"),
        (lambda c: configuration(c).update(preprocessor_name="Mine"), "preprocessor is Mine"),
        (
            lambda c: configuration(c).update(resampling_fn_data="resample_torch"),
            "resampling of data is resample_torch",
        ),
        (
            lambda c: configuration(c)["resampling_fn_data_kwargs"].update(order=1),
            "resampling of data has the settings",
        ),
        (
            lambda c: configuration(c)["resampling_fn_data_kwargs"].update(force_separate_z=True),
            "force_separate_z is True",
        ),
        (
            lambda c: configuration(c)["architecture"].update(network_class_name="a.b.Primus"),
            "the network is a a.b.Primus",
        ),
        (lambda c: arguments(c).update(nonlin="torch.nn.GELU"), "activation is GELU"),
        (lambda c: arguments(c).update(norm_op="torch.nn.GroupNorm"), "normalises by GroupNorm"),
        (lambda c: arguments(c).update(squeeze_excitation=True), "squeeze_excitation, which Osler cannot build"),
        (lambda c: arguments(c).update(pool="max"), "pools by 'max'"),
        (lambda c: arguments(c).update(strides=[[1, 1, 1]]), "do not fit 3 levels"),
        (lambda c: arguments(c).update(features_per_stage=[4, 6, 10]), "do not fit the plan: size mismatch"),
        (lambda c: arguments(c).update(n_conv_per_stage=[1, 2, 3]), "has no encoder.stages.2.0.convs.2"),
        (lambda c: arguments(c).update(n_conv_per_stage=[1, 2, 1]), "has the layer encoder.stages.2.0.convs.1"),
        (lambda c: configuration(c).pop("patch_size"), "patch_size: Field required"),
        (lambda c: c.pop("configurations"), "no configurations"),
        (lambda c: c.update(image_reader_writer="Mine"), "image reader is Mine"),
        (lambda c: c.update(foreground_intensity_properties_per_channel={}), "foreground's percentile_00_5"),
        (lambda c: c.update(transpose_forward=[0, 0, 1]), "transpose_forward"),
    ],
)
def test_a_plan_that_cannot_be_kept_is_refused_by_name(
    change: Callable[[dict[str, Any]], object], match: str, tmp_path: Path
) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    change_json(trained_in(folder) / "plans.json", change)
    with pytest.raises(ModelError, match=match):
        convert(folder, output=tmp_path / "model")
    assert not (tmp_path / "model").exists()
    assert not (tmp_path / "model.partial").exists()


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda c: c["channel_names"].update({"1": "PET"}), "normalises 1 channels, and dataset.json names 2"),
        (lambda c: c["labels"].update(three=7), "are not 1, 2, 3"),
        (lambda c: c["labels"].update(three=3), "size mismatch"),
        (lambda c: c["labels"].update(both=[1, 2]), "no regions_class_order"),
        (lambda c: c.pop("labels"), "has no labels"),
        (lambda c: c.pop("channel_names"), "has no channel_names"),
    ],
)
def test_a_dataset_json_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], object], match: str, tmp_path: Path
) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    change_json(trained_in(folder) / "dataset.json", change)
    with pytest.raises(ModelError, match=match):
        convert(folder, output=tmp_path / "model")


def test_an_ignore_label_is_left_out(tmp_path: Path) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    change_json(trained_in(folder) / "dataset.json", lambda c: c["labels"].update(ignore=3))
    assert convert(folder, output=tmp_path / "model").model.plan.labels.names == ("one", "two")


class _Evil:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def test_a_checkpoint_with_a_command_in_it_is_refused_and_the_command_not_run(tmp_path: Path) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    marker = tmp_path / "was-run"
    with zipfile.ZipFile(trained_in(folder) / "fold_0" / "checkpoint_final.pth", "w") as file:
        file.writestr("a/data.pkl", pickle.dumps({"network_weights": _Evil(f"touch {marker}")}, protocol=2))
    with pytest.raises(ModelError, match=r"posix\.system.*nothing of it was run"):
        convert(folder, output=tmp_path / "model")
    assert not marker.exists()


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    folder = unpack("regions-ensemble", tmp_path / "nnunet")
    place, output = trained_in(folder), tmp_path / "model"
    with pytest.raises(PathNotFound, match="no folder of nnU-Net results"):
        convert(tmp_path / "nowhere", output=output)
    with pytest.raises(PathNotFound, match="unzip it first"):
        convert(tmp_path / "model.zip", output=output)
    with pytest.raises(UsageError, match="no trained nnU-Net v2 model"):
        convert(place / "fold_0", output=output)
    with pytest.raises(UsageError, match=r"has no fold 4.*give --fold 0 or 1"):
        convert(folder, output=output, folds=[0, 4])
    with pytest.raises(UsageError, match=r"checkpoint_best\.pth \(fold 0: checkpoint_final\.pth"):
        convert(folder, output=output, checkpoint="best")
    with pytest.raises(UsageError, match="no orientation"):
        convert(folder, output=output, orientation="RAL")
    (place / "fold_1" / "checkpoint_final.pth").rename(place / "fold_1" / "checkpoint_best.pth")
    with pytest.raises(UsageError, match="not every fold has checkpoint_final or checkpoint_best"):
        convert(folder, output=output)
    shutil.copytree(place, folder / "nnUNetTrainer__nnUNetPlans__2d")
    with pytest.raises(UsageError, match="2 trained models, of which 2 fit"):
        convert(folder, output=output)
    with pytest.raises(Unknown, match="no configuration '2d'"):
        convert(folder, output=output, configuration="2d", folds=[0])
    place.rename(folder / "renamed")
    with pytest.raises(UsageError, match="does not say which configuration"):
        convert(folder / "renamed", output=output)
    assert convert(folder / "renamed", output=output, configuration="3d_fullres", folds=[0]).model.plan.members == 1


def test_a_checkpoint_of_another_configuration_is_refused(tmp_path: Path) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    change_json(
        trained_in(folder) / "plans.json",
        lambda c: c["configurations"].update({"3d_lowres": {"inherits_from": "3d_fullres"}}),
    )
    trained_in(folder).rename(folder / "nnUNetTrainer__nnUNetPlans__3d_lowres")
    with pytest.raises(ModelError, match="was trained for 3d_fullres, not for 3d_lowres"):
        convert(folder, output=tmp_path / "model")


def test_nothing_is_overwritten_that_is_not_a_model(tmp_path: Path) -> None:
    folder = unpack("pictures-rgb", tmp_path / "nnunet")
    model = convert(folder, output=tmp_path / "model").model
    with pytest.raises(OutputExists, match="exists already"):
        convert(folder, output=model.path)
    assert convert(folder, output=model.path, force=True).model.verify().faults == ()
    with pytest.raises(OutputExists, match="no model folder"):
        convert(folder, output=folder, force=True)


def test_the_command_converts_and_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = unpack("pictures-rgb", tmp_path / "nnunet")
    assert main(["convert", str(folder), "--output", str(tmp_path / "model"), "--fold", "0", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["ok"]
    assert record["parity"][0]["difference"] < 1e-3
    assert main(["convert", str(folder), "--output", str(tmp_path / "model")]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main(["predict", str(tmp_path / "model"), str(folder / "image_0000.png"), "-o", str(tmp_path / "out")]) == 0


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda a: a.update(strides="two"), "strides.*"),
        (lambda a: a.update(kernel_sizes=[[2, 2, 2]] * 3), "kernels of even size"),
        (lambda a: a.update(stem_channels=99), "stem has a width of its own"),
        (lambda a: a.update(features_per_stage=[]), "features_per_stage"),
        (lambda a: a.update(n_conv_per_stage=[1, 0, 2]), "block counts"),
        (lambda a: a.update(strides=[[2, 1, 1], [1, 2, 2], [2, 2, 2]]), "strides on its first level"),
    ],
)
def test_a_network_that_cannot_be_built_is_refused(
    change: Callable[[dict[str, Any]], object], match: str, tmp_path: Path
) -> None:
    folder = unpack("ct-anisotropic", tmp_path / "nnunet")
    change_json(trained_in(folder) / "plans.json", lambda content: change(arguments(content)))
    with pytest.raises(ModelError, match=match):
        convert(folder, output=tmp_path / "model")


def test_batch_normalisation_is_recognised_by_its_statistics(tmp_path: Path) -> None:
    """A trainer may replace the normalisation without a word in plans.json."""
    import torch

    folder = unpack("old-plans", tmp_path / "nnunet")
    path = trained_in(folder) / "fold_0" / "checkpoint_final.pth"
    content = torch.load(path, weights_only=False)
    state = content["network_weights"]
    for name in [name for name in state if name.endswith(".norm.weight")]:
        stem, width = name.removesuffix("weight"), len(state[name])
        state[f"{stem}running_mean"] = torch.linspace(-0.3, 0.4, width)
        state[f"{stem}running_var"] = torch.linspace(0.5, 2.0, width)
        state[f"{stem}num_batches_tracked"] = torch.tensor(9)
    torch.save(content, path)
    model = convert(folder, output=tmp_path / "model").model
    assert model.plan.network.normalisation == "batch"
    block = torch.nn.Sequential(torch.nn.Conv3d(1, 4, 3, padding=1), torch.nn.BatchNorm3d(4)).eval()
    for part, there in ((block[0], "conv"), (block[1], "norm")):
        prefix = f"encoder.stages.0.0.convs.0.{there}."
        part.load_state_dict({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
    from osler.learning.export import load_network

    ours = torch.nn.Sequential(*list(load_network(model).stages[0][0])[:2])  # type: ignore[index]
    noise = torch.randn(1, 1, 5, 6, 7, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # the weights' axes were turned: x, y, z here and z, y, x there
        expected = block(noise.permute(0, 1, 4, 3, 2)).permute(0, 1, 4, 3, 2)
        np.testing.assert_allclose(ours(noise).numpy(), expected.numpy(), atol=1e-5)
