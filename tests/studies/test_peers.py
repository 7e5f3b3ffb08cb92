"""The same voxels in the same places as SimpleITK and nibabel read from real files."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK

from osler.studies.formats import read_image, read_labels, write_image
from osler.studies.geometry import LPS_TO_RAS

REFERENCES = [
    "brain1_image",
    "brain2_label",
    "breast1_image",
    "lung1_label",
    "prostate_phantom_subvolume",
    "prostate_phantom_subvolume-label",
]


def _itk(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """(I, J, K) and the affine to RAS+ mm, by SimpleITK."""
    peer = SimpleITK.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(peer.GetDirection()).reshape(3, 3) * peer.GetSpacing()
    affine[:3, 3] = peer.GetOrigin()
    return SimpleITK.GetArrayFromImage(peer).T, LPS_TO_RAS @ affine


@pytest.mark.parametrize("name", REFERENCES)
def test_the_radiomics_reference_lies_where_simpleitk_reads_it(name: str, shared: Path) -> None:
    path = shared / f"radiomics-reference/{name}.nrrd"
    image = read_labels(path) if "label" in name else read_image(path)
    voxels, affine = _itk(path)
    np.testing.assert_array_equal(image.array[0], voxels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-9)
    assert image.orientation_known


@pytest.mark.parametrize("name", ["ct-organs/ct.nii.gz", "ct-organs/organs.nii.gz"])
def test_the_ct_lies_where_both_peers_read_it(name: str, shared: Path) -> None:
    image = read_image(shared / name)
    voxels, affine = _itk(shared / name)
    np.testing.assert_array_equal(image.array[0], voxels)
    np.testing.assert_allclose(image.affine, affine, atol=1e-3)
    np.testing.assert_allclose(image.affine, nibabel.load(shared / name).affine, atol=1e-6)


def test_the_hippocampi_lie_where_both_peers_read_them(shared: Path) -> None:
    for path in sorted((shared / "hippocampus/imagesTr").glob("*.nii.gz"))[::40]:
        image = read_image(path)
        voxels, affine = _itk(path)
        np.testing.assert_array_equal(image.array[0], voxels)
        np.testing.assert_allclose(image.affine, affine, atol=1e-3)
        np.testing.assert_allclose(image.affine, nibabel.load(path).affine, atol=1e-6)


@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_a_real_volume_goes_through_every_format_unmoved(suffix: str, shared: Path, tmp_path: Path) -> None:
    image = read_image(shared / "radiomics-reference/prostate_phantom_subvolume.nrrd")
    write_image(image, tmp_path / f"copy{suffix}")
    copy = read_image(tmp_path / f"copy{suffix}")
    voxels, affine = _itk(tmp_path / f"copy{suffix}")
    for array, place in ((copy.array[0], copy.affine), (voxels, affine)):
        np.testing.assert_array_equal(array, image.array[0])
        np.testing.assert_allclose(place, image.affine, atol=1e-3)
