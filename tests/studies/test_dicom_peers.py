"""Voxels and geometry against code that we did not write: SimpleITK (GDCM), and dcm2niix read by nibabel.

Each voxel is looked up in the peer's image by its place in the patient, so a mirror, a shift or another order of axes
shows whatever the peer's own order is.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from dicom_samples import make_slice, save
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset

from osler.studies.formats import read_image
from osler.studies.image import Image

_OBLIQUE = np.linalg.qr(np.array([[0.9, 0.3, 0.1], [-0.2, 0.8, 0.4], [0.1, -0.5, 0.9]]))[0].T
PLANES: dict[str, Sequence[float]] = {
    "axial": (1, 0, 0, 0, 1, 0),
    "axial, prone": (-1, 0, 0, 0, -1, 0),
    "coronal": (1, 0, 0, 0, 0, -1),
    "sagittal": (0, 1, 0, 0, 0, -1),
    "oblique": tuple(np.concatenate([_OBLIQUE[0], _OBLIQUE[1]]).tolist()),
}


def _pixels(number: int) -> np.ndarray:
    """A slice in which no two corners look alike."""
    return (np.add.outer(7 * np.arange(5), np.arange(6)) + 100 * number + 1000).astype(np.int16)


def _normal(orientation: Sequence[float]) -> np.ndarray:
    return np.cross(orientation[:3], orientation[3:])


def _series(folder: Path, orientation: Sequence[float], *, step: np.ndarray | None = None, sense: int = 1) -> Path:
    step = 2.5 * sense * _normal(orientation) if step is None else step
    for number in range(7):
        position = np.round(np.array([-30.0, -40.0, 50.0]) + number * step, 6)
        data = make_slice(
            _pixels(number),
            position,
            orientation=np.round(orientation, 9),
            InstanceNumber=number + 1,
            SliceThickness=2.5,
        )
        data.StudyDate, data.StudyTime, data.SeriesNumber = "20200101", "120000", 1
        data.Manufacturer, data.PatientPosition, data.ImageType = "GE", "HFS", ["ORIGINAL", "PRIMARY", "AXIAL"]
        data.AcquisitionNumber, data.KVP = 1, 120
        data.StudyInstanceUID, data.SeriesInstanceUID, data.FrameOfReferenceUID = "1.2.826.1", "1.2.826.2", "1.2.826.3"
        save(data, folder / f"IM{number:03}.dcm")
    return folder


def _with_simpleitk(path: Path) -> Any:
    reader = sitk.ImageSeriesReader()
    if path.is_file():
        return sitk.ReadImage(str(path))
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(path)))
    return reader.Execute()


def _corners(shape: Sequence[int]) -> np.ndarray:
    """Indices (n, 3): all corners of the grid and 200 voxels within."""
    ends = np.array(np.meshgrid(*[[0, n - 1] for n in shape])).reshape(3, -1).T
    return np.concatenate([ends, np.random.default_rng(0).integers(0, shape, (200, 3))])


def _check_simpleitk(image: Image, peer: Any) -> None:
    voxels = image.array[0] if image.dimensions == 3 else image.array[0][..., None]
    for i, j, k in _corners(voxels.shape).tolist():
        world = image.affine @ [i, j, k, 1]
        there = peer.TransformPhysicalPointToContinuousIndex((-world[0], -world[1], world[2]))
        nearest = [round(value) for value in there]
        assert np.abs(np.subtract(there, nearest)).max() < 1e-2, "a voxel lies between the peer's voxels"
        assert peer.GetPixel(*nearest) == pytest.approx(voxels[i, j, k], rel=1e-5, abs=1e-3)


def _check_nifti(image: Image, peer: Any) -> None:
    voxels = image.array[0]
    values = np.asanyarray(peer.dataobj).reshape(peer.shape[:3])
    indices = _corners(voxels.shape)
    world = image.affine @ np.c_[indices, np.ones(len(indices))].T
    there = (np.linalg.inv(peer.affine) @ world)[:3].T
    nearest = np.rint(there).astype(int)
    assert np.abs(there - nearest).max() < 1e-2, "a voxel lies between the peer's voxels"
    np.testing.assert_allclose(values[tuple(nearest.T)], voxels[tuple(indices.T)], rtol=1e-5, atol=1e-3)
    assert voxels.size == values.size


def _with_dcm2niix(path: Path, out: Path) -> Any:
    if shutil.which("dcm2niix") is None:
        pytest.skip("dcm2niix is not installed (apt-get install dcm2niix)")
    out.mkdir()
    subprocess.run(
        ["dcm2niix", "-z", "n", "-b", "n", "-m", "y", "-o", str(out), "-f", "x", str(path)],
        check=True,
        capture_output=True,
    )
    [found] = [file for file in out.glob("*.nii") if "Tilt" not in file.name and "Eq" not in file.name]
    return nibabel.load(found)


REAL = ["brain-mr-dicom/Study1/12-T1post-05670", "brain-mr-dicom/Study1/36459-FLAIRreg-76244", "ct-organs/dicom"]


@pytest.mark.parametrize("name", REAL)
def test_real_series_are_the_same_to_simpleitk(name: str, shared: Path) -> None:
    image = read_image(shared / name)
    if name.startswith("ct"):  # GDCM finds no series where its UID is empty, so it is told the order
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(path) for path in image.source.paths])
        _check_simpleitk(image, reader.Execute())
    else:
        _check_simpleitk(image, _with_simpleitk(shared / name))


@pytest.mark.parametrize("name", REAL)
def test_real_series_are_the_same_to_dcm2niix(name: str, shared: Path, tmp_path: Path) -> None:
    _check_nifti(read_image(shared / name), _with_dcm2niix(shared / name, tmp_path / "out"))


@pytest.mark.parametrize("sense", [1, -1])
@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_is_the_same_to_simpleitk(plane: str, sense: int, tmp_path: Path) -> None:
    folder = _series(tmp_path / "series", PLANES[plane], sense=sense)
    _check_simpleitk(read_image(folder), _with_simpleitk(folder))


@pytest.mark.parametrize("plane", PLANES)
def test_every_plane_is_the_same_to_dcm2niix(plane: str, tmp_path: Path) -> None:
    folder = _series(tmp_path / "series", PLANES[plane])
    _check_nifti(read_image(folder), _with_dcm2niix(folder, tmp_path / "out"))


def test_where_a_gantry_is_tilted_both_peers_drop_the_shear(tmp_path: Path) -> None:
    """They step along the normal, so that their last slice lies beside its own ImagePositionPatient. dcm2niix warns of
    it and writes a second, resampled file."""
    tilt = np.radians(15)
    orientation = (1, 0, 0, 0, float(np.cos(tilt)), float(np.sin(tilt)))
    folder = _series(tmp_path / "series", orientation, step=np.array([0, 0, 2.5]))
    image = read_image(folder)
    last = np.array(pydicom.dcmread(folder / "IM006.dcm").ImagePositionPatient, float)
    np.testing.assert_allclose((image.affine @ [0, 0, 6, 1])[:3], last * [-1, -1, 1], atol=1e-6)
    theirs = np.array(_with_simpleitk(folder).TransformIndexToPhysicalPoint((0, 0, 6)))
    assert np.linalg.norm(theirs - last) > 1
    affine = _with_dcm2niix(folder, tmp_path / "out").affine
    corners = [(affine @ [0, j, k, 1])[:3] for j in (0, 4) for k in (0, 6)]
    assert min(np.linalg.norm(corner - last * [-1, -1, 1]) for corner in corners) > 1


def _enhanced(places: Sequence[int]) -> Dataset:
    """One file with the slices of ``_series`` in the order of ``places``, coronal."""
    orientation = PLANES["coronal"]
    data = make_slice(np.stack([_pixels(place) for place in places]), None)
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID = pydicom.uid.EnhancedCTImageStorage
    data.NumberOfFrames = len(places)
    shared, plane, measures, rescale = Dataset(), Dataset(), Dataset(), Dataset()
    plane.ImageOrientationPatient = list(orientation)
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.8], 2.5
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, -1024
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [plane], [measures]
    shared.PixelValueTransformationSequence = [rescale]
    data.SharedFunctionalGroupsSequence, data.PerFrameFunctionalGroupsSequence = [shared], []
    for place in places:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = (np.array([-30.0, -40.0, 50.0]) + 2.5 * place * _normal(orientation)).tolist()
        frame.PlanePositionSequence = [position]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    return data


def test_an_enhanced_file_has_its_voxels_where_the_single_slices_have_them(tmp_path: Path) -> None:
    """SimpleITK itself reads a file whose frames are in order; MONAI gives any such file an identity affine."""
    series = _series(tmp_path / "series", PLANES["coronal"])
    path = save(_enhanced([4, 0, 6, 2, 1, 5, 3]), tmp_path / "enhanced.dcm")
    _check_simpleitk(read_image(path), _with_simpleitk(series))


@pytest.mark.parametrize("name", ["CT_small.dcm", "MR_small.dcm", "MR_small_bigendian.dcm", "693_J2KI.dcm"])
def test_single_files_are_the_same_to_simpleitk(name: str) -> None:
    path = Path(str(get_testdata_file(name)))
    _check_simpleitk(read_image(path), _with_simpleitk(path))
