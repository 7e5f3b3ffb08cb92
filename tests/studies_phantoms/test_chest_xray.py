"""The film is what Beer and Lambert make of the patient, and shows what its truth says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
import pytest

from osler.datasets.layouts import open_dataset
from osler.errors import UsageError
from osler.studies.formats import read_image, read_labels
from osler.studies.phantoms.chest_xray import ENLARGED, MACHINES, ChestXray, expose, make, project, write_dataset
from osler.studies.phantoms.degrade import WATER, Faults
from osler.studies.phantoms.files import case_seed

SMALL = 96


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xray")
    write_dataset(folder, cases=4, seed=2, size=SMALL)
    return folder


@pytest.fixture(scope="module")
def phantom() -> ChestXray:
    return make(3, size=160, nodules=2, ratio=0.45, machine=0)


def test_a_sphere_of_water_in_air_attenuates_by_its_chords() -> None:
    at = (np.arange(64) - 31.5) * 2.0
    radius, fine = 40.0, 5
    depth = np.sqrt(np.maximum(radius**2 - at[:, None] ** 2 - at[None] ** 2, 0))
    inside = [np.abs(at[None, :, None] + step)[:, :] < depth[:, None] for step in np.linspace(-0.8, 0.8, fine)]
    hu = np.mean(inside, axis=0) * 1000 - 1000
    lines = project(hu, 2.0)
    assert np.abs(lines - 2 * depth * WATER).max() < 0.02
    assert lines.sum() * 4 == pytest.approx(4 / 3 * np.pi * radius**3 * WATER, rel=0.01)


def test_air_attenuates_nothing_and_dense_bone_more_than_water() -> None:
    hu = np.full((1, 10, 2), -1000.0)
    hu[:, :, 1] = 1000
    assert project(hu, 1.0).tolist() == [[0.0, pytest.approx(10 * 2 * WATER)]]


def test_photons_are_counted_with_poissons_noise() -> None:
    lines = np.full((200, 200), 2.0)
    shares = {dose: expose(np.random.default_rng(0), lines, 1.0, Faults(dose=dose)) for dose in (1.0, 0.25)}
    assert shares[1.0].mean() == pytest.approx(np.exp(-2), rel=1e-3)
    counted = 60_000 * 1.35 * np.exp(-2)
    assert shares[1.0].std() / shares[1.0].mean() == pytest.approx(counted**-0.5, rel=0.03)
    assert shares[0.25].std() / shares[1.0].std() == pytest.approx(2, rel=0.03)


@pytest.mark.parametrize("ratio", [0.4, 0.5, 0.62])
def test_the_heart_is_as_wide_as_the_ratio_that_was_asked_for(ratio: float) -> None:
    phantom = make(5, size=SMALL, ratio=ratio, nodules=0)
    assert phantom.ratio == pytest.approx(ratio, abs=1e-6)
    assert phantom.enlarged is (phantom.ratio > ENLARGED)
    mask, pixel = phantom.mask.array[0], phantom.image.spacing[0]
    heart = np.flatnonzero((mask == 2).any(axis=1))
    chest = np.flatnonzero((mask > 0).any(axis=1))
    assert np.ptp(heart) * pixel == pytest.approx(phantom.heart_mm, abs=2.5 * pixel)
    assert np.ptp(chest) * pixel == pytest.approx(phantom.chest_mm, abs=5 * pixel)


def test_nodules_are_in_their_boxes_and_add_their_shadow(phantom: ChestXray) -> None:
    clear = make(3, size=160, nodules=0, ratio=0.45, machine=0)
    mask = phantom.mask.array[0]
    seen = np.zeros(mask.shape, bool)
    for (left, top, right, bottom), nodule in zip(phantom.boxes, phantom.nodules, strict=True):
        box = (slice(left, right + 1), slice(top, bottom + 1))
        seen[box] = True
        assert (mask[box] == 3).mean() > 0.6
        assert (right - left + 1) * phantom.image.spacing[0] == pytest.approx(nodule.diameter, rel=0.35)
        brighter = phantom.image.array[0][box].astype(float) - clear.image.array[0][box]
        assert brighter.mean() > 60
    assert not (mask == 3)[~seen].any()


def test_lungs_are_dark_and_the_heart_is_on_the_viewers_right(phantom: ChestXray) -> None:
    image, mask = phantom.image.array[0], phantom.mask.array[0]
    assert image[mask == 1].mean() < image[mask == 2].mean() < image[70:90, 140:].mean()
    assert np.argwhere(mask == 2)[:, 0].mean() > np.argwhere(mask == 1)[:, 0].mean()


def test_dicom_reads_back_as_it_was_made_whatever_its_photometric_interpretation(dataset: Path) -> None:
    kinds = set()
    for n in range(4):
        path = dataset / "studies" / f"xray-{n + 1:03d}.dcm"
        phantom, header = make(case_seed(2, n), size=SMALL), pydicom.dcmread(path)
        kinds.add(header.PhotometricInterpretation)
        image = read_image(path)
        assert np.array_equal(image.array, phantom.image.array)
        assert np.allclose(image.affine, phantom.image.affine, atol=1e-3)
        assert image.orientation_known
        assert header.SOPClassUID.name.startswith("Digital X-Ray Image Storage")
        assert np.array_equal(read_labels(dataset / "masks" / f"xray-{n + 1:03d}.png").array, phantom.mask.array)
        picture = read_image(dataset / "pictures" / f"xray-{n + 1:03d}.png")
        assert np.array_equal(picture.array, phantom.image.array >> 4)
    assert kinds == {"MONOCHROME1", "MONOCHROME2"}


def test_one_folder_serves_segmentation_and_several_labels(dataset: Path) -> None:
    assert open_dataset(dataset).labels.names == ("lungs", "heart", "nodules")
    several = open_dataset(dataset, task="multilabel")
    assert several.labels.names == ("nodule", "enlarged heart")
    for n, record in enumerate(several):
        phantom = make(case_seed(2, n), size=SMALL)
        assert record.target == (int(bool(phantom.nodules)), int(phantom.enlarged))


def test_machines_differ_in_pixels_and_in_how_they_show_a_chest() -> None:
    films = [make(1, size=SMALL, machine=n, nodules=0, ratio=0.45) for n in range(len(MACHINES))]
    assert len({film.image.spacing for film in films}) == len(films)
    assert len({int(film.image.array.mean()) for film in films}) == len(films)


def test_limits_are_kept() -> None:
    with pytest.raises(UsageError, match="32 pixels is too small"):
        make(0, size=32)
    with pytest.raises(UsageError, match="0 to 3 nodules, not 9"):
        make(0, nodules=9)
    with pytest.raises(UsageError, match=r"ratio is 0\.35 to 0\.7"):
        make(0, ratio=0.9)
    with pytest.raises(UsageError, match="no bias field"):
        make(0, faults=Faults(bias=0.2))
