"""Volumes read plane by plane against ``read_image``, which reads them whole."""

from __future__ import annotations

import gzip
from dataclasses import fields
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_samples import make_slice, save
from pydicom.uid import RLELossless

from osler.errors import StudyError
from osler.studies.formats import open_volume, read_image, write_image
from osler.studies.image import Image
from osler.studies.volume import as_image, blocks_of

OBLIQUE = np.array([[0.9, 0.1, 0, 5], [-0.1, 1.1, 0.2, -7], [0, -0.2, 2.5, 9], [0, 0, 0, 1.0]])


def voxels(shape=(7, 5, 41), dtype=np.int16, seed=0):
    return np.random.default_rng(seed).integers(-900, 2000, shape).astype(dtype)


def nifti(path, array, *, scale=None, order="<"):
    file = nibabel.Nifti1Image(array, OBLIQUE, dtype=array.dtype)
    header = nibabel.Nifti1Header(endianness=order)
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype.newbyteorder(order))
    header.set_sform(OBLIQUE, code=1)
    if scale:
        header.set_slope_inter(*scale)
    header["vox_offset"], header["magic"] = 352, b"n+1"
    data = header.binaryblock + b"\0" * 4 + array.astype(array.dtype.newbyteorder(order)).tobytes(order="F")
    path.write_bytes(gzip.compress(data) if path.name.endswith(".gz") else data)
    return file and path


def pair(folder, array):
    nibabel.save(nibabel.Nifti1Pair(array, OBLIQUE), folder / "pair.img")
    return folder / "pair.hdr"


def nrrd(path, array, encoding="raw", skip=0):
    lines = ["NRRD0004", "type: int16", "dimension: 3", "sizes: " + " ".join(map(str, array.shape)), "endian: big"]
    lines += [
        "space: right-anterior-superior",
        "space directions: (1,0,0) (0,2,0) (0,0,3)",
    ]
    data = b"x" * skip + array.astype(">i2").tobytes(order="F")
    lines += ["kinds: domain domain domain", f"encoding: {encoding}", f"byte skip: {skip}"]
    path.write_bytes(("\n".join(lines) + "\n\n").encode() + (gzip.compress(data) if encoding == "gzip" else data))
    return path


def metaimage(path, array):
    lines = [
        "ObjectType = Image",
        "NDims = 3",
        "DimSize = " + " ".join(map(str, array.shape)),
        "ElementSpacing = 1 2 3",
    ]
    lines += ["TransformMatrix = 1 0 0 0 1 0 0 0 1", "ElementType = MET_SHORT", "ElementDataFile = LOCAL"]
    path.write_bytes(("\n".join(lines) + "\n").encode() + array.astype("<i2").tobytes(order="F"))
    return path


def series(folder, *, slopes=(1.0,), bits=16, compressed=False, **attributes):
    random = np.random.default_rng(1)
    for number in range(19):
        pixels = random.integers(0, 1 << min(bits, 12), (6, 8)).astype(np.uint16 if bits == 16 else np.uint8)
        more = {"RescaleSlope": slopes[number % len(slopes)], **attributes}
        data = make_slice(pixels, (0, 0, 2.0 * (number * 7 % 19)), **more)
        if compressed:
            data.compress(RLELossless, generate_instance_uid=False)
        save(data, folder / f"{number:02}.dcm")
    return folder


def samples(folder: Path) -> dict[str, Path]:
    array = voxels()
    pet = {"Modality": "PT", "Units": "BQML", "CorrectedImage": ["DECY", "ATTN"], "PatientWeight": 70}
    pet |= {"DecayCorrection": "START", "SeriesTime": "120000", "AcquisitionTime": "120100", "SeriesDate": "20250101"}
    return {
        "nii": nifti(folder / "a.nii", array),
        "nii.gz": nifti(folder / "b.nii.gz", array),
        "scaled": nifti(folder / "c.nii.gz", array, scale=(0.37, -11.5)),
        "big endian": nifti(folder / "d.nii", array, order=">"),
        "float64": nifti(folder / "e.nii.gz", voxels(dtype=np.float64) / 3),
        "one slice": nifti(folder / "f.nii", voxels((4, 6, 1))),
        "pair": pair(folder, array),
        "nrrd": nrrd(folder / "g.nrrd", array, skip=7),
        "nrrd gzip": nrrd(folder / "h.nrrd", array, "gzip", skip=7),
        "written nrrd": _written(folder / "i.nrrd", array),
        "metaimage": metaimage(folder / "j.mha", array),
        "dicom": series(folder / "k"),
        "dicom rle": series(folder / "l", compressed=True),
        "dicom of 8 bits": series(folder / "m", bits=8),
        "dicom with slopes": series(folder / "n", slopes=(1.0, 0.5, 2.25)),
        "inverted": series(folder / "o", PhotometricInterpretation="MONOCHROME1", Modality="MR"),
        "pet": series(folder / "p", slopes=(1.5, 2.5), **pet),
    }


def _written(path, array):
    write_image(Image(array[None], OBLIQUE), path)
    return path


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return samples(tmp_path_factory.mktemp("volumes"))


NAMES = (
    "nii", "nii.gz", "scaled", "big endian", "float64", "one slice", "pair", "nrrd", "nrrd gzip", "written nrrd",
    "metaimage", "dicom", "dicom rle", "dicom of 8 bits", "dicom with slopes", "inverted", "pet",
)  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("block", [1, 16, 100])
def test_planes_are_those_of_the_whole_image(files, name, block):
    whole, volume = read_image(files[name]), open_volume(files[name])
    with volume.open() as planes:
        parts = [part for _, part in blocks_of(planes, volume.shape[2], block=block)]
    joined = np.concatenate(parts, axis=3)
    np.testing.assert_array_equal(joined, whole.array)
    assert {part.dtype for part in parts} == {volume.like.array.dtype}
    assert all(part.dtype.isnative for part in parts)


@pytest.mark.parametrize("name", NAMES)
def test_everything_else_is_said_as_of_the_whole_image(files, name):
    whole, volume = read_image(files[name]), open_volume(files[name])
    for field in fields(Image):
        if field.name != "array":
            np.testing.assert_equal(getattr(volume.like, field.name), getattr(whole, field.name))
    assert (volume.shape, volume.channels, volume.dimensions) == (whole.shape, 1, 3)
    np.testing.assert_array_equal(as_image(volume).array, whole.array)


@pytest.mark.parametrize("name", ["nii", "nii.gz", "nrrd", "dicom", "dicom rle"])
def test_planes_may_be_passed_over(files, name):
    whole, volume = read_image(files[name]).array, open_volume(files[name])
    with volume.open() as planes:
        for start, stop in [(0, 2), (2, 3), (9, 10), (13, 18)]:
            np.testing.assert_array_equal(planes.read(start, stop), whole[..., start:stop])
        planes.finish()


def test_what_cannot_be_read_plane_by_plane_is_left_to_the_whole_way(tmp_path):
    array = voxels()
    nibabel.save(nibabel.Nifti1Image(np.stack([array, array], axis=3), OBLIQUE), tmp_path / "four.nii.gz")
    write_image(Image(array[None], OBLIQUE), tmp_path / "deflated.mha")
    save(make_slice(np.ones((4, 4), np.int16)), tmp_path / "one" / "a.dcm")
    write_image(Image(np.ones((1, 4, 4), np.uint8)), tmp_path / "picture.png")
    for name in ("four.nii.gz", "deflated.mha", "one", "picture.png"):
        assert open_volume(tmp_path / name) is None


def _read_through(path):
    volume = open_volume(path)
    with volume.open() as planes:
        for _ in blocks_of(planes, volume.shape[2]):
            pass


def _problem(read, path):
    with pytest.raises(StudyError) as caught:
        read(path)
    return type(caught.value), caught.value.problem


@pytest.mark.parametrize("name", ["nii", "nii.gz", "scaled", "nrrd", "nrrd gzip", "metaimage"])
@pytest.mark.parametrize("share", [0.3, 0.95, 0.999])
def test_a_truncated_file_is_refused_as_when_it_is_read_whole(files, tmp_path, name, share):
    path = tmp_path / files[name].name
    data = files[name].read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    assert _problem(_read_through, path) == _problem(read_image, path)


@pytest.mark.parametrize("name", ["nii.gz", "nrrd gzip"])
@pytest.mark.parametrize("place", [-6, -2])
def test_a_wrong_checksum_is_noticed_at_the_end(files, tmp_path, name, place):
    path = tmp_path / files[name].name
    data = bytearray(files[name].read_bytes())
    data[place] ^= 1
    path.write_bytes(bytes(data))
    assert _problem(_read_through, path) == _problem(read_image, path)


def test_a_stream_that_goes_on_after_the_voxels_is_refused(files, tmp_path):
    path = tmp_path / "long.nii.gz"
    path.write_bytes(gzip.compress(gzip.decompress(files["nii.gz"].read_bytes()) + bytes(70 << 20), 1))
    assert _problem(_read_through, path) == _problem(read_image, path)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_damaged_slice_is_refused_by_name(tmp_path, compressed):
    folder = series(tmp_path / "s", compressed=compressed)
    data = (folder / "07.dcm").read_bytes()
    (folder / "07.dcm").write_bytes(data[:-20])
    kind, problem = _problem(_read_through, folder)
    assert (kind, problem) == _problem(read_image, folder)
    assert "07.dcm" in problem


def test_a_slice_missing_is_refused_before_anything_is_read(tmp_path):
    folder = series(tmp_path / "s")
    (folder / "07.dcm").unlink()
    assert _problem(open_volume, folder) == _problem(read_image, folder)


def test_real_series_and_volumes_are_the_same_either_way(shared):
    folder = next(p.parent for p in sorted((shared / "brain-mr-dicom").rglob("*")) if p.is_file())
    for path in (folder, shared / "hippocampus" / "imagesTr" / "hippocampus_001.nii.gz"):
        whole, volume = read_image(path), open_volume(path)
        with volume.open() as planes:
            joined = np.concatenate([part for _, part in blocks_of(planes, volume.shape[2])], axis=3)
        np.testing.assert_array_equal(joined, whole.array)
        np.testing.assert_array_equal(volume.affine, whole.affine)
