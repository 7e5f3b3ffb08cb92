from __future__ import annotations

import bz2
import gzip
from pathlib import Path

import nrrd
import numpy as np
import pytest
import SimpleITK

from osler.errors import GeometryError, Unreadable, Unsuitable, UsageError
from osler.studies.formats import read_frames, read_image, read_labels, sniff, write_image
from osler.studies.geometry import LPS_TO_RAS
from osler.studies.image import Image

VOXELS = np.arange(-30, 30, dtype=np.int16).reshape(3, 4, 5)
DIRECTIONS = "(0.5,0,0) (0,0,2) (0,-0.6,0)"
ENCODERS = {
    "raw": bytes,
    "gzip": gzip.compress,
    "gz": gzip.compress,
    "bzip2": bz2.compress,
    "bz2": bz2.compress,
    "hex": lambda data: data.hex().upper().encode(),
    "text": lambda data: " ".join(str(number) for number in np.frombuffer(data, "<i2")).encode(),
}
BASE = {
    "type": "short",
    "dimension": "3",
    "sizes": "3 4 5",
    "space": "left-posterior-superior",
    "space directions": DIRECTIONS,
    "space origin": "(1,2,3)",
    "endian": "little",
    "encoding": "raw",
}


def _write(path: Path, data: bytes | None = None, **changes: str | None) -> Path:
    fields = BASE | {name.replace("_", " "): value for name, value in changes.items()}
    lines = [f"{name}: {value}" for name, value in fields.items() if value is not None]
    payload = VOXELS.tobytes(order="F") if data is None else data
    path.write_bytes(("NRRD0005\n# a comment\n" + "\n".join(lines) + "\nmodality:=MR\n\n").encode() + payload)
    return path


@pytest.mark.parametrize("encoding", ENCODERS)
def test_every_encoding_gives_the_same_voxels(encoding: str, tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nrrd", ENCODERS[encoding](VOXELS.tobytes(order="F")), encoding=encoding)
    np.testing.assert_array_equal(read_image(path).array[0], VOXELS)


@pytest.mark.parametrize("encoding", ["raw", "gzip", "bzip2", "ascii"])
@pytest.mark.parametrize("detached", [False, True])
def test_what_pynrrd_writes_is_read(encoding: str, detached: bool, tmp_path: Path) -> None:
    header = {"space": "right-anterior-superior", "space directions": np.eye(3) * 2, "space origin": [1, 2, 3]}
    path = tmp_path / ("a.nhdr" if detached else "a.nrrd")
    nrrd.write(str(path), VOXELS, header | {"encoding": encoding}, detached_header=detached)
    image = read_image(path)
    np.testing.assert_array_equal(image.array[0], VOXELS)
    np.testing.assert_allclose(image.affine, [[2, 0, 0, 1], [0, 2, 0, 2], [0, 0, 2, 3], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("space", "signs"),
    [
        ("right-anterior-superior", (1, 1, 1)),
        ("RAS", (1, 1, 1)),
        ("left-anterior-superior", (-1, 1, 1)),
        ("LAS", (-1, 1, 1)),
        ("left-posterior-superior", (-1, -1, 1)),
        ("LPS", (-1, -1, 1)),
    ],
)
def test_patient_spaces_become_ras_as_simpleitk_has_them(space: str, signs: tuple[int, ...], tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nrrd", space=space)
    image = read_image(path)
    expected = np.diag([*signs, 1.0]) @ np.array([[0.5, 0, 0, 1], [0, 0, -0.6, 2], [0, 2, 0, 3], [0, 0, 0, 1]])
    np.testing.assert_allclose(image.affine, expected)
    peer = SimpleITK.ReadImage(path)
    peers = np.eye(4)
    peers[:3, :3] = np.array(peer.GetDirection()).reshape(3, 3) * peer.GetSpacing()
    peers[:3, 3] = peer.GetOrigin()
    np.testing.assert_allclose(LPS_TO_RAS @ peers, image.affine, atol=1e-12)


@pytest.mark.parametrize("space", ["scanner-xyz", "3D-right-handed", "3D-left-handed"])
def test_a_space_without_patient_axes_leaves_the_orientation_unknown(space: str, tmp_path: Path) -> None:
    image = read_image(_write(tmp_path / "a.nrrd", space=space))
    assert not image.orientation_known
    assert image.spacing_known
    assert image.spacing == pytest.approx((0.5, 2, 0.6))


def test_spacings_without_a_space_and_nothing_at_all(tmp_path: Path) -> None:
    bare = {"space": None, "space_directions": None, "space_origin": None}
    spaced = read_image(_write(tmp_path / "a.nrrd", spacings="0.5 2 0.6", **bare))
    assert (spaced.spacing_known, spaced.orientation_known) == (True, False)
    assert spaced.spacing == pytest.approx((0.5, 2, 0.6))
    naked = read_image(_write(tmp_path / "b.nrrd", **bare))
    assert (naked.spacing_known, naked.orientation_known) == (False, False)


def test_units_are_converted_and_strange_ones_refused(tmp_path: Path) -> None:
    microns = read_image(_write(tmp_path / "a.nrrd", space_units='"um" "um" "um"'))
    assert microns.spacing == pytest.approx((0.0005, 0.002, 0.0006))
    assert microns.affine[2, 3] == pytest.approx(0.003)
    with pytest.raises(GeometryError, match="lengths in furlong"):
        read_image(_write(tmp_path / "b.nrrd", space_units='"furlong" "furlong" "furlong"'))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": None}, "directions in no space"),
        ({"space": "left-right-up"}, "lies in the space 'left-right-up'"),
        ({"space_directions": "(1,0,0) (0,1,0)"}, "3 axes and 2 space directions"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,0,nan)"}, "not finite"),
        ({"space_directions": "(1,0,0) (0,1,0) (0,2,0)"}, "finite, invertible"),
        ({"space_directions": "(1,0,0) (0,1) (0,0,1)"}, "do not fit a space of 3"),
        ({"space_directions": "none (0,1,0) none", "kinds": "list domain list"}, "1 axes in space, 2 of frames"),
        ({"kinds": "domain domain"}, "3 axes and 2 kinds"),
    ],
)
def test_geometry_that_is_not_clear_is_refused(changes: dict[str, str | None], reason: str, tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=rf"a\.nrrd.*{reason}"):
        read_image(_write(tmp_path / "a.nrrd", **changes))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"endian": None}, "in which order the bytes"),
        ({"type": "block"}, "values of the type 'block'"),
        ({"encoding": "zrl"}, "encoding 'zrl'"),
        ({"sizes": "3 4"}, "sizes '3 4' and the dimension '3'"),
        ({"sizes": "3 4 -5"}, "sizes '3 4 -5'"),
        ({"sizes": "3000 4000 50000"}, "cut off"),
        ({"data_file": "../../etc/passwd"}, "outside its folder"),
        ({"data_file": "/etc/passwd"}, "outside its folder"),
        ({"data_file": "gone.raw"}, "'gone.raw', which is not there"),
        ({"data_file": "slice%03d.raw 1 0 1"}, "which gives none"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(changes: dict[str, str | None], reason: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_image(_write(tmp_path / "a.nrrd", **changes))


def test_big_endian_types_are_read(tmp_path: Path) -> None:
    image = read_image(_write(tmp_path / "a.nrrd", VOXELS.astype(">i2").tobytes(order="F"), endian="big"))
    np.testing.assert_array_equal(image.array[0], VOXELS)
    assert image.array.dtype.isnative


def test_lines_and_bytes_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.raw").write_bytes(b"first line\nsecond\nXYZ" + VOXELS.tobytes(order="F"))
    _write(tmp_path / "a.nhdr", b"", data_file="a.raw", line_skip="2", byte_skip="3")
    np.testing.assert_array_equal(read_image(tmp_path / "a.nhdr").array[0], VOXELS)
    _write(tmp_path / "b.nhdr", b"", data_file="a.raw", byte_skip="-1")
    np.testing.assert_array_equal(read_image(tmp_path / "b.nhdr").array[0], VOXELS)


@pytest.mark.parametrize(
    "entry", ["part%02d.raw 1 5 1", "LIST\npart01.raw\npart02.raw\npart03.raw\npart04.raw\npart05.raw"]
)
def test_one_file_per_slice(entry: str, tmp_path: Path) -> None:
    for place in range(5):
        (tmp_path / f"part{place + 1:02}.raw").write_bytes(VOXELS[..., place].tobytes(order="F"))
    fields = "\n".join(f"{name}: {value}" for name, value in BASE.items())
    (tmp_path / "a.nhdr").write_text(f"NRRD0005\n{fields}\ndata file: {entry}\n")
    image = read_image(tmp_path / "a.nhdr")
    np.testing.assert_array_equal(image.array[0], VOXELS)
    assert len(image.source.paths) == 6


def test_vectors_are_channels_and_lists_are_frames(tmp_path: Path) -> None:
    data = np.arange(120, dtype=np.int16)
    first = _write(
        tmp_path / "a.nrrd",
        data.tobytes(),
        dimension="4",
        sizes="2 3 4 5",
        space_directions=f"none {DIRECTIONS}",
        kinds="vector domain domain domain",
    )
    assert read_image(first).array.shape == (2, 3, 4, 5)
    assert len(read_frames(first).images) == 1
    last = _write(
        tmp_path / "b.nrrd",
        data.tobytes(),
        dimension="4",
        sizes="3 4 5 2",
        space_directions=f"{DIRECTIONS} none",
        kinds="domain domain domain list",
    )
    frames = read_frames(last)
    assert [one.array.shape for one in frames.images] == [(1, 3, 4, 5)] * 2
    np.testing.assert_array_equal(read_image(last, index=1).array[0], data.reshape((3, 4, 5, 2), order="F")[..., 1])
    with pytest.raises(UsageError, match="2 frames and frame 5"):
        read_image(last, index=5)


def test_partial_transparency_is_refused_and_opaque_dropped(tmp_path: Path) -> None:
    colours = np.full((4, 3, 4, 5), 255, np.uint8)
    options = {
        "type": "uchar",
        "dimension": "4",
        "sizes": "4 3 4 5",
        "space_directions": f"none {DIRECTIONS}",
        "kinds": "RGBA-color domain domain domain",
    }
    assert read_image(_write(tmp_path / "a.nrrd", colours.tobytes(order="F"), **options)).array.shape[0] == 3
    colours[3, 0, 0, 0] = 9
    with pytest.raises(Unsuitable, match="partly transparent"):
        read_image(_write(tmp_path / "b.nrrd", colours.tobytes(order="F"), **options))


def test_a_slice_in_space_is_2d_with_its_place(tmp_path: Path) -> None:
    path = _write(
        tmp_path / "a.nrrd",
        VOXELS[..., 0].tobytes(order="F"),
        dimension="2",
        sizes="3 4",
        space_directions="(0.5,0,0) (0,0,2)",
    )
    image = read_image(path)
    assert image.array.shape == (1, 3, 4)
    assert image.orientation_known
    np.testing.assert_allclose(image.affine[:3, 3], (-1, -2, 3))
    np.testing.assert_allclose(np.linalg.norm(image.affine[:3, 2]), 1)


def test_a_picture_stays_a_picture(tmp_path: Path) -> None:
    picture = Image(np.arange(12, dtype=np.uint8).reshape(1, 3, 4), spacing_known=False, orientation_known=False)
    write_image(picture, tmp_path / "a.nrrd")
    copy = read_image(tmp_path / "a.nrrd")
    np.testing.assert_array_equal(copy.array, picture.array)
    assert (copy.spacing_known, copy.orientation_known) == (False, False)


def test_what_begins_as_nrrd_is_nrrd_whatever_its_name(tmp_path: Path) -> None:
    assert sniff(_write(tmp_path / "scan")) == "nrrd"


def test_a_flipped_bit_in_a_compressed_file_is_noticed(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.nrrd", gzip.compress(VOXELS.tobytes(order="F")), encoding="gzip")
    data = bytearray(path.read_bytes())
    data[-40] ^= 0x10
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=r"a\.nrrd"):
        read_image(path)


def test_complex_values_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="NRRD cannot hold complex64"):
        write_image(Image(np.zeros((1, 2, 2, 2), np.complex64), np.eye(4)), tmp_path / "a.nrrd")


def test_real_labels_are_labels(shared: Path) -> None:
    mask = read_labels(shared / "radiomics-reference/brain1_label.nrrd")
    assert set(np.unique(mask.array)) == {0, 1}
