"""The heart beats between the volumes that were asked for."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

from osler.datasets.layouts import open_dataset
from osler.errors import UsageError
from osler.studies.formats import read_image, read_labels
from osler.studies.geometry import volume_per_voxel
from osler.studies.phantoms.cardiac_cine import CinePhantom, make, volume_curve, write_dataset
from osler.studies.phantoms.degrade import Faults


def millilitres(phantom: CinePhantom, label: int) -> np.ndarray:
    voxel = volume_per_voxel(phantom.masks[0].affine) / 1000
    return np.array([(mask.array == label).sum() * voxel for mask in phantom.masks])


@pytest.fixture(scope="module")
def strong() -> CinePhantom:
    return make(9, ejection=0.6, volume_ml=140, scanner=0, frames=14)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cine")
    write_dataset(folder, cases=2, seed=1, frames=14)
    return folder


@pytest.mark.parametrize(("ejection", "volume", "scanner"), [(0.65, 130, 0), (0.3, 220, 1), (0.5, 150, 2)])
def test_masks_have_the_ejection_fraction_and_volumes_that_were_asked_for(
    ejection: float, volume: float, scanner: int
) -> None:
    phantom = make(9, ejection=ejection, volume_ml=volume, scanner=scanner, frames=14)
    left = millilitres(phantom, 3)
    assert phantom.ejection == pytest.approx(ejection)
    assert left[0] == pytest.approx(volume, rel=0.03)
    assert 1 - left[phantom.systole] / left[0] == pytest.approx(ejection, abs=0.015)
    assert phantom.volumes_ml[0] == pytest.approx(volume)


def test_muscle_keeps_its_volume_while_its_wall_thickens(strong: CinePhantom) -> None:
    phantom = strong
    muscle = millilitres(phantom, 2)[[0, phantom.systole]]
    assert muscle == pytest.approx([phantom.heart.muscle_ml] * 2, rel=0.06)
    full, empty = phantom.heart.left(1.0), phantom.heart.left(0.0)
    assert empty[2] - empty[0] > full[2] - full[0] + 1


def test_half_ellipsoids_have_the_volume_of_the_formula(strong: CinePhantom) -> None:
    heart = strong.heart
    for filled, wanted in ((1.0, 140), (0.0, 56)):
        radius, length, outside, whole = heart.left(filled)
        assert 2 / 3 * np.pi * radius**2 * length / 1000 == pytest.approx(wanted)
        assert 2 / 3 * np.pi * outside**2 * whole / 1000 == pytest.approx(wanted + heart.muscle_ml)


def test_the_curve_begins_and_ends_full_and_is_empty_at_systole() -> None:
    curve = volume_curve(np.linspace(0, 1, 201))
    assert (curve[0], curve[-1], curve.min()) == (1, 1, 0)
    assert curve[(np.linspace(0, 1, 201) >= 0.35) & (np.linspace(0, 1, 201) <= 0.43)].max() == 0


def test_blood_is_brighter_than_muscle_and_the_septum_is_between_the_ventricles(strong: CinePhantom) -> None:
    image, mask = strong.frames[0].array, strong.masks[0].array
    assert image[mask == 3].mean() > 1.4 * image[mask == 2].mean()
    assert np.argwhere(mask == 1)[:, 1].mean() < np.argwhere(mask == 3)[:, 1].mean()


def test_the_film_the_phases_and_the_dicom_series_agree(folder: Path) -> None:
    film = nibabel.load(folder / "cine" / "cine-001.nii.gz")
    assert film.shape[3] == 14
    assert film.header.get_xyzt_units() == ("mm", "sec")
    truth = json.loads((folder / "truth.json").read_text())["cases"]["cine-001"]
    assert film.header["pixdim"][4] * 14 == pytest.approx(truth["rr_s"], rel=1e-5)
    voxels = np.asarray(film.dataobj)
    for phase, frame in (("ed", 0), ("es", truth["end_systolic_frame"])):
        image = read_image(folder / "studies" / f"cine-001-{phase}.nii.gz")
        assert np.array_equal(image.array[0], voxels[..., frame])
        assert np.allclose(image.affine, film.affine, atol=1e-4)
    slices = [pydicom.dcmread(path) for path in sorted((folder / "dicom" / "cine-001").iterdir())]
    assert len(slices) == 14 * film.shape[2]
    times = sorted({float(one.TriggerTime) for one in slices})
    assert np.diff(times) == pytest.approx(truth["rr_s"] / 14 * 1000, abs=0.01)
    late = [one for one in slices if one.TemporalPositionIdentifier == 5]
    assert np.array_equal(np.stack([one.pixel_array.T for one in late], axis=-1), voxels[..., 4])


def test_the_truth_has_the_volumes_of_model_and_masks(folder: Path) -> None:
    truth = json.loads((folder / "truth.json").read_text())["cases"]["cine-001"]
    model, masks = truth["left_ventricle_ml"], truth["left_ventricle_mask_ml"]
    frame = truth["end_systolic_frame"]
    assert masks[0] == pytest.approx(model[0], rel=0.03)
    assert masks[frame] == pytest.approx(model[frame], rel=0.06)
    mask = read_labels(folder / "masks" / "cine-001-es.nii.gz")
    assert (mask.array == 3).sum() * volume_per_voxel(mask.affine) / 1000 == pytest.approx(masks[frame], rel=1e-4)


def test_the_folder_is_a_dataset(folder: Path) -> None:
    assert open_dataset(folder).labels.names == ("right ventricle", "myocardium", "left ventricle")
    classes = open_dataset(folder, task="classify")
    assert classes.labels.names == ("preserved", "reduced")
    assert len(classes) == 4
    assert len({record.patient for record in classes}) == 2


def test_limits_are_kept() -> None:
    with pytest.raises(UsageError, match=r"0\.15 to 0\.75 here, not 0\.9"):
        make(0, ejection=0.9)
    with pytest.raises(UsageError, match="80 to 300 ml here, not 20"):
        make(0, volume_ml=20)
    with pytest.raises(UsageError, match="14 frames or more, not 5"):
        make(0, frames=5)
    with pytest.raises(UsageError, match="an MR has no dose"):
        make(0, faults=Faults(dose=0.5))
