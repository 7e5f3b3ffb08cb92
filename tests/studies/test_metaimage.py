from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from osler.errors import GeometryError, Unreadable, UsageError
from osler.studies.formats import read_frames, read_image, write_image
from osler.studies.geometry import LPS_TO_RAS
from osler.studies.image import Image

VOXELS = np.arange(-30, 30, dtype=np.int16).reshape(3, 4, 5)
BASE = {
    "ObjectType": "Image",
    "NDims": "3",
    "BinaryData": "True",
    "BinaryDataByteOrderMSB": "False",
    "CompressedData": "False",
    "TransformMatrix": "0 1 0 0 0 -1 1 0 0",
    "Offset": "10 20 30",
    "CenterOfRotation": "0 0 0",
    "AnatomicalOrientation": "RAI",
    "ElementSpacing": "0.5 0.6 2",
    "DimSize": "3 4 5",
    "ElementType": "MET_SHORT",
    "ElementDataFile": "LOCAL",
}


def _write(path: Path, data: bytes | None = None, **changes: str | None) -> Path:
    fields = BASE | changes
    last = fields.pop("ElementDataFile")
    lines = [f"{name} = {value}" for name, value in fields.items() if value is not None]
    payload = VOXELS.tobytes(order="F") if data is None else data
    path.write_bytes(("\n".join(lines) + f"\nElementDataFile = {last}\n").encode() + payload)
    return path


def _peer(path: Path) -> np.ndarray:
    file = SimpleITK.ReadImage(path)
    affine = np.eye(4)
    affine[:3, :3] = np.array(file.GetDirection()).reshape(3, 3) * file.GetSpacing()
    affine[:3, 3] = file.GetOrigin()
    return LPS_TO_RAS @ affine


def test_the_matrix_gives_one_axis_after_the_other_as_simpleitk_has_it(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.mha")
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], VOXELS)
    np.testing.assert_allclose(image.affine[:3, 0], (0, -0.5, 0), atol=1e-12)  # +y of LPS is posterior
    np.testing.assert_allclose(image.affine, _peer(path), atol=1e-12)
    assert image.orientation_known


def test_other_names_of_the_fields_are_understood(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "a.mha", TransformMatrix=None, Offset=None, Rotation="0 1 0 0 0 -1 1 0 0", Position="10 20 30"
    )
    np.testing.assert_allclose(read_image(path).affine, read_image(_write(tmp_path / "b.mha")).affine)


def test_without_a_matrix_or_with_question_marks_the_orientation_is_unknown(tmp_path: Path) -> None:
    bare = read_image(_write(tmp_path / "a.mha", TransformMatrix=None))
    assert (bare.orientation_known, bare.spacing_known) == (False, True)
    assert bare.spacing == pytest.approx((0.5, 0.6, 2))
    marked = read_image(_write(tmp_path / "b.mha", AnatomicalOrientation="???"))
    assert not marked.orientation_known
    assert not read_image(_write(tmp_path / "c.mha", ElementSpacing=None)).spacing_known


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"TransformMatrix": "2 0 0 0 1 0 0 0 1"}, "its spacing is given twice"),
        ({"TransformMatrix": "1 0 0 0 1 0"}, "must be 9 finite numbers"),
        ({"TransformMatrix": "1 0 0 0 1 0 0 1 0"}, "finite, invertible"),
        ({"Offset": "1 2 nan"}, "Offset '1 2 nan'"),
        ({"ElementSpacing": "0.5 0 2"}, "must be above 0"),
        ({"CenterOfRotation": "5 5 5"}, "software reads in two ways"),
        ({"DistanceUnits": "furlong"}, "lengths in 'furlong'"),
    ],
)
def test_geometry_that_is_not_clear_is_refused(changes: dict[str, str | None], reason: str, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=rf"a\.mha.*{reason}"):
        read_image(_write(tmp_path / "a.mha", **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"ElementType": "MET_STRING"}, "values of the type 'MET_STRING'"),
        ({"DimSize": "3 4"}, "DimSize '3 4' and NDims '3'"),
        ({"DimSize": "3000 4000 50000"}, "cut off"),
        ({"DimSize": "3 4 5000"}, "cut off"),
        ({"ObjectType": "Tube"}, "no image"),
        ({"ElementNumberOfChannels": "0"}, "0 channels"),
        ({"ElementDataFile": "../other.raw"}, "outside its folder"),
        ({"ElementDataFile": "gone.raw"}, "not there"),
        ({"CompressedData": "True"}, "compressed data are damaged"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(changes: dict[str, str | None], reason: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_image(_write(tmp_path / "a.mha", **changes))


def test_compressed_voxels_of_another_size_are_refused(tmp_path: Path) -> None:
    data = zlib.compress(VOXELS.tobytes(order="F"))
    whole = _write(tmp_path / "a.mha", data, CompressedData="True")
    np.testing.assert_array_equal(read_image(whole).array[0], VOXELS)
    with pytest.raises(Unreadable, match="fewer bytes"):
        read_image(_write(tmp_path / "b.mha", data, CompressedData="True", DimSize="3 4 6"))
    with pytest.raises(Unreadable, match="more bytes"):
        read_image(_write(tmp_path / "c.mha", data, CompressedData="True", DimSize="3 4 4"))


def test_big_endian_text_header_size_and_lists(tmp_path: Path) -> None:
    big = _write(tmp_path / "a.mha", VOXELS.astype(">i2").tobytes(order="F"), BinaryDataByteOrderMSB="True")
    text = _write(tmp_path / "b.mha", " ".join(map(str, VOXELS.ravel(order="F"))).encode(), BinaryData="False")
    (tmp_path / "c.raw").write_bytes(b"sixteen bytes...x" + VOXELS.tobytes(order="F"))
    skipped = _write(tmp_path / "c.mhd", b"", ElementDataFile="c.raw", HeaderSize="17")
    from_end = _write(tmp_path / "d.mhd", b"", ElementDataFile="c.raw", HeaderSize="-1")
    for place in range(5):
        (tmp_path / f"s{place}.raw").write_bytes(VOXELS[..., place].tobytes(order="F"))
    pattern = _write(tmp_path / "e.mhd", b"", ElementDataFile="s%d.raw 0 4 1")
    listed = _write(tmp_path / "f.mhd", b"", ElementDataFile="LIST\n" + "\n".join(f"s{n}.raw" for n in range(5)))
    for path in (big, text, skipped, from_end, pattern, listed):
        np.testing.assert_array_equal(read_image(path).array[0], VOXELS, err_msg=path.name)


def test_time_is_frames_and_elements_are_channels(tmp_path: Path) -> None:
    series = SimpleITK.JoinSeries([SimpleITK.GetImageFromArray(VOXELS.T + n) for n in range(3)], 0.0, 2.0)
    SimpleITK.WriteImage(series, tmp_path / "a.mha")
    assert [int(one.array[0, 0, 0, 0]) for one in read_frames(tmp_path / "a.mha").images] == [-30, -29, -28]
    colours = np.arange(180, dtype=np.uint8).reshape(5, 4, 3, 3)
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(colours, isVector=True), tmp_path / "b.mha")
    np.testing.assert_array_equal(read_image(tmp_path / "b.mha").array, np.transpose(colours))


def test_a_picture_keeps_its_spacing_and_has_no_place(tmp_path: Path) -> None:
    SimpleITK.WriteImage(SimpleITK.GetImageFromArray(np.zeros((4, 3), np.uint8)), tmp_path / "a.mha")
    image = read_image(tmp_path / "a.mha")
    assert image.array.shape == (1, 3, 4)
    assert not image.orientation_known


def test_complex_values_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="MetaImage cannot hold complex64"):
        write_image(Image(np.zeros((1, 2, 2, 2), np.complex64), np.eye(4)), tmp_path / "a.mha")
