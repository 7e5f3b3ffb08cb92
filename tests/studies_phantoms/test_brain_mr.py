"""Tissues have the contrast of their relaxation times, lesions the volumes that their truth says."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pydicom
import pytest

from osler.datasets.layouts import open_dataset
from osler.errors import UsageError
from osler.studies.formats import read_image, read_labels
from osler.studies.geometry import volume_per_voxel
from osler.studies.phantoms.brain_anatomy import Lesion, lesion_distance
from osler.studies.phantoms.brain_mr import SCANNERS, BrainPhantom, factors, make, write_dataset
from osler.studies.phantoms.degrade import Faults
from osler.studies.phantoms.mr_signal import CHEST, TISSUES, Tissue, balanced, inversion_recovery, spin_echo, spoiled


@pytest.fixture(scope="module")
def phantom() -> BrainPhantom:
    return make(5, lesions=6, scanner=0, coarser=2.5)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("brain")
    write_dataset(folder, cases=1, seed=4, coarser=4, times=2)
    return folder


def mean(phantom: BrainPhantom, channel: str, label: int) -> float:
    return float(phantom.images[channel].array[phantom.mask.array == label].mean())


def test_signal_equations_give_hand_computed_values() -> None:
    tissue = Tissue(t1=1000, t2=100, t2_star=50, density=0.8)
    assert spin_echo(500, 20)(tissue) == pytest.approx(0.8 * (1 - np.exp(-0.5)) * np.exp(-0.2))
    assert inversion_recovery(5000, 50, 800)(tissue) == pytest.approx(
        0.8 * abs(1 - 2 * np.exp(-0.8) + np.exp(-5)) * np.exp(-0.5)
    )
    assert spoiled(20, 5, 90)(tissue) == pytest.approx(0.8 * (1 - np.exp(-0.02)) * np.exp(-0.1))
    assert balanced(90)(tissue) == pytest.approx(0.8 / 11)


def test_a_spoiled_echo_is_brightest_at_ernsts_angle() -> None:
    tissue = TISSUES["white"]
    angles = np.arange(1, 90)
    best = angles[np.argmax([spoiled(20, 5, float(angle))(tissue) for angle in angles])]
    assert best == pytest.approx(np.rad2deg(np.arccos(np.exp(-20 / tissue.t1))), abs=0.5)


def test_flair_leaves_csf_dark() -> None:
    assert inversion_recovery(9000, 120)(TISSUES["csf"]) == pytest.approx(0, abs=1e-12)
    assert inversion_recovery(9000, 120)(TISSUES["lesion"]) > 0.05


def test_blood_is_brighter_than_muscle_in_a_cine() -> None:
    sequence = balanced(55)
    assert sequence(CHEST["blood"]) > 1.8 * sequence(CHEST["muscle"])


def test_tissues_are_ordered_as_in_a_brain(phantom: BrainPhantom) -> None:
    csf, grey, white, lesion = 1, 2, 3, 4
    assert mean(phantom, "T1", white) > mean(phantom, "T1", grey) > mean(phantom, "T1", csf)
    assert mean(phantom, "T2", csf) > mean(phantom, "T2", grey) > mean(phantom, "T2", white)
    assert mean(phantom, "FLAIR", lesion) > mean(phantom, "FLAIR", grey) > mean(phantom, "FLAIR", csf)
    assert mean(phantom, "T1", lesion) < mean(phantom, "T1", white)


def test_volumes_are_those_of_an_adult(phantom: BrainPhantom) -> None:
    voxel = volume_per_voxel(phantom.mask.affine) / 1000
    csf, grey, white = ((phantom.mask.array == value).sum() * voxel for value in (1, 2, 3))
    assert 150 < csf < 700
    assert 450 < grey < 1000
    assert 350 < white < 900


def test_a_lesion_fills_its_volume() -> None:
    lesion = Lesion((3.0, -2.0, 1.0), (6.0, 4.0, 5.0), 0.7)
    assert lesion.volume == pytest.approx(4 / 3 * np.pi * 120)
    at = np.arange(-9, 9, 0.25)
    axes = (at[:, None, None] + 3, at[None, :, None] - 2, at[None, None] + 1)
    assert (lesion_distance(axes, lesion) < 0).sum() * 0.25**3 == pytest.approx(lesion.volume, rel=0.01)
    assert lesion.grown(1.5).volume == pytest.approx(1.5 * lesion.volume)


def test_lesions_are_as_many_and_as_large_in_the_mask_as_in_the_truth() -> None:
    phantom = make(5, lesions=4, scanner=0, coarser=1.5)
    assert len(phantom.lesions) == 4
    voxel = volume_per_voxel(phantom.mask.affine)
    wanted = sum(lesion.volume for lesion in phantom.lesions)
    assert (phantom.mask.array == 4).sum() * voxel == pytest.approx(wanted, rel=0.2)


def test_growth_is_what_the_factors_say(serial: Path) -> None:
    cases = json.loads((serial / "truth.json").read_text())["cases"]
    first, second = cases["brain-001-1"], cases["brain-001-2"]
    assert (first["day"], second["day"]) == (0, 180)
    changes = factors(first["seed"], len(first["lesions"]), 180)
    assert len(first["lesions"]) > 0
    expected = [lesion["volume_mm3"] * factor for lesion, factor in zip(first["lesions"], changes, strict=False)]
    new = int(sum(changes[len(expected) :]))
    assert [lesion["volume_mm3"] for lesion in second["lesions"]][: len(expected)] == pytest.approx(expected)
    assert len(second["lesions"]) == len(expected) + new
    assert changes[0] > 1.05


def test_as_many_lesions_as_asked_for_are_there_first_and_others_appear_later() -> None:
    appeared = 0
    for seed in range(30):
        before, after = factors(seed, 8, 0), factors(seed, 8, 720)
        assert before[:8] == (1.0,) * 8
        assert set(before[8:]) <= {0.0}
        assert min(after) > 0
        appeared += len(after) - 8
    assert appeared > 10


def test_dicom_and_nifti_hold_the_same_voxels_in_the_same_place(serial: Path) -> None:
    for channel in ("T1", "T2", "FLAIR"):
        nifti = read_image(serial / "studies" / f"brain-001-1-{channel.lower()}.nii.gz")
        dicom = read_image(serial / "dicom" / "brain-001-1" / channel)
        assert np.array_equal(nifti.array, dicom.array)
        assert np.allclose(nifti.affine, dicom.affine, atol=1e-3)
    mask = read_labels(serial / "masks" / "brain-001-1.nii.gz")
    assert np.allclose(mask.affine, nifti.affine, atol=1e-4)


def test_series_say_their_sequence_and_scanner(serial: Path) -> None:
    headers = {}
    for channel in ("T1", "T2", "FLAIR"):
        path = serial / "dicom" / "brain-001-1" / channel / "slice-0001.dcm"
        headers[channel] = pydicom.dcmread(path, stop_before_pixels=True)
    assert headers["FLAIR"].InversionTime > 1500
    assert headers["T1"].RepetitionTime < headers["T2"].RepetitionTime
    assert len({header.StudyInstanceUID for header in headers.values()}) == 1
    assert len({header.SeriesInstanceUID for header in headers.values()}) == 3
    assert headers["T1"].ManufacturerModelName in {scanner.model for scanner in SCANNERS}


def test_the_folder_is_a_dataset_of_three_channels(serial: Path) -> None:
    dataset = open_dataset(serial)
    assert dataset.manifest.channels == ("T1", "T2", "FLAIR")
    assert dataset.labels.names == ("csf", "grey matter", "white matter", "lesions")
    assert len({record.patient for record in dataset}) == 1


def test_motion_and_bias_change_the_pictures_and_not_the_mask() -> None:
    plain = make(7, lesions=0, scanner=2, coarser=4)
    worse = make(7, lesions=0, scanner=2, coarser=4, faults=Faults(motion=4, bias=0.6))
    assert np.array_equal(plain.mask.array, worse.mask.array)
    for channel in ("T1", "T2", "FLAIR"):
        before, after = (p.images[channel].array[plain.mask.array > 0].astype(float) for p in (plain, worse))
        assert np.abs(after - before).mean() > 0.07 * before.mean()


def test_limits_are_kept() -> None:
    with pytest.raises(UsageError, match="0 to 12 lesions, not 20"):
        make(0, lesions=20)
    with pytest.raises(UsageError, match="1 to 4 times wider, not 9"):
        make(0, coarser=9)
    with pytest.raises(UsageError, match="0 or later, not -1"):
        make(0, day=-1)
    with pytest.raises(UsageError, match="an MR has no dose"):
        make(0, faults=Faults(dose=0.5))
