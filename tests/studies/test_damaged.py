"""One test for each kind of defect that ``make fuzz`` found in the readers."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
import tifffile
from dicom_samples import make_slice, save

from dicom_label_samples import write_rtstruct, write_seg, write_series
from osler.errors import GeometryError, OslerError, Unknown, Unreadable, Unsuitable
from osler.studies.discovery import find_studies
from osler.studies.files import walk
from osler.studies.formats import (
    _bytes,
    dicom,
    dicom_rtstruct,
    dicom_seg,
    dicom_waveform,
    raster,
    read_frames,
    read_image,
    read_labels,
    read_signals,
    sniff,
    write_image,
)
from osler.studies.formats._dicom_bounds import BoundedReader
from osler.studies.formats._dicom_geometry import Slice
from osler.studies.formats._dicom_stacks import stacks_of
from osler.studies.formats.dicom_index import index_folder
from osler.studies.formats.nifti import read_grid
from osler.studies.formats.npz import shape_of
from osler.studies.geometry import Array
from osler.studies.image import Image


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.hdr", "a.nrrd", "a.png", "a.svs", "a.gif", "a.dcm", "a.hea"])
@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_pipes_and_devices_are_no_files(name: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / name
    os.mkfifo(path) if kind == "pipe" else path.symlink_to("/dev/zero")
    assert sniff(path) is None
    for read in (read_image, read_labels, read_frames, read_signals):
        with pytest.raises(Unreadable, match=r"a\.\S+ is neither a file nor a folder"):
            read(path)


def _linked_in_circles(root: Path) -> None:
    for one, other in (("a", "b"), ("b", "a")):
        (root / one).mkdir(exist_ok=True)
        for n in range(3):
            (root / one / f"to{n}").symlink_to(root / other, target_is_directory=True)
    (root / "up").symlink_to(root, target_is_directory=True)


def test_links_in_circles_are_followed_once(tmp_path: Path) -> None:
    save(make_slice(np.zeros((4, 5), np.int16)), tmp_path / "a" / "x.dcm")
    PIL.Image.new("L", (5, 4)).save(tmp_path / "a" / "y.png")
    _linked_in_circles(tmp_path)
    assert sorted(path.name for _, files in walk(tmp_path) for path in files) == ["x.dcm", "y.png"]
    assert len(find_studies([tmp_path])) == 2
    assert len(index_folder(tmp_path).images) == 1


def test_a_link_to_itself_spoils_nothing_around_it(tmp_path: Path) -> None:
    save(make_slice(np.zeros((4, 5), np.int16)), tmp_path / "x.dcm")
    (tmp_path / "z.dcm").symlink_to(tmp_path / "z.dcm")
    assert read_image(tmp_path).shape == (5, 4)
    for channel in ("0000", "0001"):
        (tmp_path / f"m_{channel}.nii.gz").symlink_to(tmp_path / f"m_{channel}.nii.gz")
    assert find_studies([tmp_path])


@pytest.mark.parametrize("entry", [1e200, 1e10, np.nan, np.inf])
def test_no_voxel_lies_beyond_everything(entry: float) -> None:
    affine = np.diag([1.0, 1.0, entry, 1.0])
    with pytest.raises(GeometryError, match="finite, invertible"):
        Image(np.zeros((1, 2, 2, 2), np.uint8), affine)


@pytest.mark.parametrize("pattern", ["a%0999999999d.raw 0 1 1", "%s%d 0 1 1", "%d%d 0 1 1"])
def test_a_pattern_of_names_cannot_ask_for_a_gigabyte(pattern: str, tmp_path: Path) -> None:
    head = "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\n"
    (tmp_path / "a.nhdr").write_text(f"{head}data file: {pattern}\n\n")
    (tmp_path / "a.mhd").write_text(
        f"NDims = 3\nDimSize = 2 2 2\nElementType = MET_UCHAR\nElementDataFile = {pattern}\n"
    )
    for name in ("a.nhdr", "a.mhd"):
        with pytest.raises(Unreadable, match="which is not there"):
            read_image(tmp_path / name)


def _long_nifti(path: Path) -> None:
    write_image(Image(np.zeros((1, 2, 2, 2), np.uint8)), path)


def _long_meta(path: Path) -> None:
    write_image(Image(np.zeros((1, 9, 9, 9), np.uint8)), path)


def _long_text(path: Path) -> None:
    path.write_text("NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: text\n\n1 2 3 4 5 6 7 ")


def _long_dicom(path: Path) -> None:
    save(make_slice(np.zeros((4, 5), np.int16), None), path)


def _long_lines(path: Path) -> None:
    path.write_text("NRRD0004\ntype: uint8\ndimension: 3\nsizes: 2 2 2\nencoding: raw\nline skip: 9\n\n")


@pytest.mark.parametrize(
    ("name", "write", "reason"),
    [
        ("a.nii.gz", _long_nifti, "goes on for long after its data"),
        ("a.nrrd", _long_nifti, "goes on for long after its data"),
        ("a.mha", _long_meta, "goes on for long after its data"),
        ("text.nrrd", _long_text, "cannot be read"),
        ("lines.nrrd", _long_lines, "skips lines that have no end"),
        ("a.dcm", _long_dicom, "zeros where elements belong"),
    ],
)
def test_what_follows_the_data_is_not_read(
    name: str, write: Callable[[Path], None], reason: str, tmp_path: Path
) -> None:
    path = tmp_path / name
    write(path)
    os.truncate(path, 8 << 30)  # zeros that take no room on the disk
    with pytest.raises(Unreadable, match=reason):
        read_image(path)


def test_a_grid_is_read_from_the_header_of_a_file_of_whatever_length(tmp_path: Path) -> None:
    _long_nifti(tmp_path / "a.nii.gz")
    os.truncate(tmp_path / "a.nii.gz", 8 << 30)
    assert read_grid(tmp_path / "a.nii.gz")[0] == (2, 2, 2)


def test_zlib_is_inflated_to_what_was_announced_and_no_further(tmp_path: Path) -> None:
    data, path = zlib.compress(bytes(range(200))), tmp_path / "a"
    assert bytes(_bytes.inflate_zlib(io.BytesIO(data + b"rest"), 200, path)) == bytes(range(200))
    for size, problem in ((199, "more"), (201, "fewer")):
        with pytest.raises(Unreadable, match=problem):
            _bytes.inflate_zlib(io.BytesIO(data), size, path)
    with pytest.raises(Unreadable, match="cut off"):
        _bytes.inflate_zlib(io.BytesIO(data[:-3]), 200, path)


def test_values_of_the_other_byte_order_are_turned_in_place() -> None:
    buffer = bytearray(np.arange(6, dtype=">f4").tobytes())
    found = _bytes.to_array(buffer, np.dtype(">f4"), (2, 3))
    assert found.dtype.isnative
    assert np.shares_memory(found, np.frombuffer(buffer, np.uint8))
    np.testing.assert_array_equal(found, np.arange(6).reshape((2, 3), order="F"))


def test_scaled_voxels_count_as_what_they_become(tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match="decompression bomb"):
        _bytes.check_bomb(tmp_path / "a", 600 << 20, 1 << 20)
    _bytes.check_bomb(tmp_path / "a", 600 << 20, 2 << 20)


def _tiff_in_a_circle(path: Path) -> None:
    tifffile.imwrite(path, np.zeros((3, 8, 8), np.uint8), photometric="minisblack", metadata=None)
    data = bytearray(path.read_bytes())
    place = struct.unpack_from("<I", data, 4)[0]
    count = struct.unpack_from("<H", data, place)[0]
    data[place + 2 + 12 * count : place + 6 + 12 * count] = struct.pack("<I", place)  # the next page is this one
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("name", ["a.tif", "a.svs"])
def test_pages_in_a_circle_are_refused(name: str, tmp_path: Path) -> None:
    _tiff_in_a_circle(tmp_path / name)
    with pytest.raises(Unreadable, match="lists its pages in a circle"):
        read_image(tmp_path / name)


@pytest.mark.parametrize("name", ["a.png", "a.gif", "a.tif"])
def test_pictures_of_one_colour_cannot_fill_the_memory(name: str, tmp_path: Path) -> None:
    picture = PIL.Image.new("RGB" if name.endswith("tif") else "P", (7_800, 7_800))
    picture.save(tmp_path / name, **({"compression": "tiff_adobe_deflate"} if name.endswith("tif") else {}))
    with pytest.raises(Unreadable, match=r"decompression bomb"):
        read_image(tmp_path / name)


def test_an_empty_mask_of_one_bit_is_no_bomb(tmp_path: Path) -> None:
    PIL.Image.new("P", (8_000, 8_000)).save(tmp_path / "a.png", bits=1)
    assert (tmp_path / "a.png").stat().st_size < 8_000**2 / 5_000
    assert not read_labels(tmp_path / "a.png").array.any()


@pytest.mark.parametrize("name", ["a.gif", "a.png"])
def test_the_first_frame_of_a_film_that_is_cut_off_is_not_taken_for_all(name: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    frames = [PIL.Image.fromarray(rng.integers(0, 255, (20, 20)).astype(np.uint8)) for _ in range(4)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / name, index=0).shape == (20, 20)
    data = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * 0.7)])
    with pytest.raises(Unreadable, match="cut off"):
        read_image(tmp_path / name, index=0)


@pytest.mark.parametrize(
    ("shape", "reason"),
    [
        ("(100000, 100000, 100)", "announces 1,000,000,000,000 bytes"),
        ("(" * 300, "cannot be read"),
        ("(-1, 2, 2)", "shape"),
    ],
)
def test_an_array_is_not_larger_than_its_member(shape: str, reason: str, tmp_path: Path) -> None:
    text = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("images.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text + bytes(8))
    with pytest.raises(Unreadable, match=reason):
        read_image(tmp_path / "a.npz")


def test_rare_compressions_and_pickles_in_archives_are_refused(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.zeros((1, 2, 2), np.uint8))
    with zipfile.ZipFile(tmp_path / "a.npz", "w", zipfile.ZIP_LZMA) as archive:
        archive.writestr("images.npy", buffer.getvalue())
    with pytest.raises(Unreadable, match="compressed in a rare way"):
        read_image(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", images=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Unreadable, match="Object arrays"):
        read_image(tmp_path / "b.npz")
    np.savez(tmp_path / "c.npz", images=np.zeros((3, 2, 2)))
    assert shape_of(tmp_path / "c.npz", "images") == (3, 2, 2)


def test_lines_of_a_wfdb_header_cannot_fill_the_memory(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(40))
    (tmp_path / "a.hea").write_text("a 1 100 20\na.dat 16:2000000000 200 12 0 0\n")
    assert np.isnan(read_signals(tmp_path / "a.hea")["signal"].samples).all()
    (tmp_path / "b.hea").write_text("b/2 1 100 240000020\na 20\n~ 240000000\n")
    with pytest.raises(Unsuitable, match="240,000,020 samples with its gaps"):
        read_signals(tmp_path / "b.hea")


def test_a_record_without_samples_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.dat").write_bytes(bytes(40))
    (tmp_path / "a.hea").write_text("a 1 100\na.dat 16+40 200 12 0 0\n")
    with pytest.raises(Unreadable, match=r"a\.hea has no samples of channel 1"):
        read_signals(tmp_path / "a.hea")


def test_a_refusal_quotes_a_bounded_part_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_text(f"NRRD0004\ntype: uint8\ndimension: {'a' * 70_000}\nsizes: 2 2 2\n\n")
    with pytest.raises(Unreadable, match=r"a\.nrrd has the sizes .*aaa.* \[\d\d,\d+ char") as told:
        read_image(tmp_path / "a.nrrd")
    assert len(str(told.value)) < 11_000


def _unfold(data: bytes, size: int, method: str, path: Path) -> bytes:
    path.write_bytes(data)
    with path.open("rb") as file:
        if method == "zlib":
            return bytes(_bytes.inflate_zlib(file, size, path))
        return bytes(_bytes.inflate(file, size - 9, path, method, 9))


@pytest.mark.parametrize("method", ["zlib", "gzip", "bzip2"])
def test_what_else_lies_in_a_file_does_not_make_a_bomb_smaller(
    method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_bytes, "_LARGE", 1 << 20)
    monkeypatch.setattr(_bytes, "_CHUNK", 1 << 10)
    pack = {"zlib": zlib.compress, "gzip": gzip.compress, "bzip2": bz2.compress}[method]
    size, noise = 16 << 20, np.random.default_rng(0).bytes(120_000)
    with pytest.raises(Unreadable, match="decompression bomb"):
        _unfold(pack(bytes(size)) + noise, size, method, tmp_path / "a")
    sound = noise + bytes(size - len(noise))
    got = _unfold(pack(sound), size, method, tmp_path / "a")
    assert got == (sound if method == "zlib" else sound[9:])


def _large_frame(path: Path, columns: int) -> None:
    """A film whose second frame says that it has so many columns."""
    rng = np.random.default_rng(0)
    frames = [PIL.Image.fromarray(rng.integers(0, 255, (24, 20)).astype(np.uint8)) for _ in range(3)]
    frames[0].save(path, save_all=True, append_images=frames[1:])
    head, first, second, rest = path.read_bytes().split(b"\x2c\0\0\0\0\x14\0\x18\0", 3)
    mark = b"\x2c\0\0\0\0"
    path.write_bytes(
        head + mark + b"\x14\0\x18\0" + first + mark + struct.pack("<HH", columns, 24) + second + mark
        + b"\x14\0\x18\0" + rest
    )  # fmt: skip


@pytest.mark.parametrize("columns", [24, 8000, 60_000])
def test_a_frame_does_not_reach_beyond_the_screen_of_its_film(columns: int, tmp_path: Path) -> None:
    _large_frame(tmp_path / "a.gif", columns)
    assert read_image(tmp_path / "a.gif", index=0).shape == (20, 24)
    with pytest.raises(Unreadable, match=r"a\.gif has a frame that reaches beyond its screen"):
        read_frames(tmp_path / "a.gif")


def test_a_slide_does_not_take_more_memory_than_its_tiles_can_fill(tmp_path: Path) -> None:
    path = tmp_path / "a.svs"
    tifffile.imwrite(path, np.zeros((96, 128, 3), np.uint8), tile=(16, 16), photometric="rgb", metadata=None)
    with tifffile.TiffFile(path, mode="r+b") as file:
        file.pages[0].tags["SamplesPerPixel"].overwrite(4096)
        file.pages[0].tags["ImageWidth"].overwrite(60_000)
    with pytest.raises(Unreadable, match="decompression bomb"):
        read_image(path)


def _cut_inside(path: Path, share: float) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])


def test_a_structure_set_that_is_cut_off_is_not_read_in_part(tmp_path: Path) -> None:
    series = write_series(tmp_path / "series", (12, 10, 4))
    corners = np.array([[1, 1], [8, 1], [8, 7], [1, 7]])
    contours = [("CLOSED_PLANAR", series.place(corners[:, 0], corners[:, 1], k), k) for k in range(3)]
    path = write_rtstruct(tmp_path / "rt.dcm", series, {"a": contours})
    onto = read_image(tmp_path / "series")
    assert dicom_rtstruct.read_masks(path, onto=onto)(1).any()
    _cut_inside(path, 0.8)
    with pytest.raises(Unreadable, match=r"cut off: [\d,]+ bytes of a value are missing"):
        dicom_rtstruct.read_masks(path, onto=onto)


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP", "RTSTRUCT"])
def test_a_structure_that_is_not_there_is_no_empty_mask(kind: str, tmp_path: Path) -> None:
    series = write_series(tmp_path / "series", (6, 5, 3))
    mask = np.zeros(series.shape, bool)
    mask[1:4, 1:4, 1] = True
    corners = np.array([[1, 1], [4, 1], [4, 3]])
    contours = [("CLOSED_PLANAR", series.place(corners[:, 0], corners[:, 1], 1), 1)]
    onto, path = read_image(tmp_path / "series"), tmp_path / "labels.dcm"
    if kind == "RTSTRUCT":
        write_rtstruct(path, series, {"a": contours})
    else:
        write_seg(path, series, {"a": mask}, kind=kind)
    reader = dicom_rtstruct if kind == "RTSTRUCT" else dicom_seg
    read: Callable[[int], Array] = reader.read_masks(path, onto=onto)
    assert read(1).any()
    with pytest.raises(Unknown, match="no structure number 9"):
        read(9)


def test_a_segmentation_whose_pixels_have_no_size_has_no_grid(tmp_path: Path) -> None:
    series, path = write_series(tmp_path / "series", (6, 5, 3)), tmp_path / "labels.dcm"
    write_seg(path, series, {"a": np.ones(series.shape, bool)}, kind="BINARY")
    data = pydicom.dcmread(path)
    shared = data.SharedFunctionalGroupsSequence[0]
    shared.PixelMeasuresSequence[0].PixelSpacing = ["1e-300", "1e-300"]
    data.save_as(path)
    for read in (dicom_seg.read_labels, dicom_seg.read_masks, dicom_seg.read_fractions):
        with pytest.raises(GeometryError, match=r"labels\.dcm: the affine must be a finite"):
            read(path)


@pytest.mark.parametrize(
    ("read", "what"),
    [(dicom_waveform.read_identifiers, "a DICOM waveform"), (dicom.read_identifiers, "a DICOM file")],
)
def test_a_file_whose_patient_cannot_be_read_is_named(
    read: Callable[[Path], object], what: str, tmp_path: Path
) -> None:
    path = save(make_slice(np.zeros((4, 5), np.int16), PatientID="p"), tmp_path / "a.dcm")
    data = path.read_bytes()
    assert data.count(b"\x10\0\x20\0LO") == 1
    path.write_bytes(data.replace(b"\x10\0\x20\0LO", b"\x10\0\x20\0UH"))
    with pytest.raises(Unreadable, match=rf"a\.dcm cannot be read as {what}: Unknown Value Representation"):
        read(path)


@pytest.mark.parametrize("attributes", [{"Rows": 60_000, "Columns": 60_000}, {"NumberOfFrames": 10**9}])
def test_memory_is_not_taken_for_pixels_that_are_not_there(attributes: dict[str, int], tmp_path: Path) -> None:
    path = save(make_slice(np.zeros((4, 5), np.int16), **attributes), tmp_path / "a.dcm")
    with pytest.raises(OslerError, match=r"a\.dcm"):
        read_image(path)


def _write_value(path: Path, keyword: str, value: str) -> None:
    data = make_slice(np.zeros((4, 5), np.int16), WindowCenter=5, WindowWidth=9, SliceThickness=1)
    tag = pydicom.tag.Tag(pydicom.datadict.tag_for_keyword(keyword))
    raw = value.encode().ljust(len(value) + len(value) % 2)
    data._dict[tag] = pydicom.dataelem.RawDataElement(tag, "DS", len(raw), raw, 0, False, True)
    save(data, path)


@pytest.mark.parametrize(("keyword", "value"), [("WindowWidth", "inf"), ("SliceThickness", "nan")])
def test_values_that_are_not_finite_never_leave_the_reader(keyword: str, value: str, tmp_path: Path) -> None:
    _write_value(tmp_path / "a.dcm", keyword, value)
    image = read_image(tmp_path / "a.dcm")
    assert np.isfinite([*image.affine.ravel(), *(image.window or ())]).all()


def test_slices_whose_spacing_is_no_number_end_in_stacks(tmp_path: Path) -> None:
    one = Slice(tmp_path / "a", 0, (4, 5), np.zeros(3), np.eye(3)[:2], (np.inf, np.nan), 1.0, 1.0, 0.0, "1.2")
    assert sum(len(stack.slices) for stack in stacks_of([one, one])) == 2


def test_pages_of_several_sizes_are_no_frames_and_named(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for side in (8, 9):
            file.write(np.zeros((side, 8), np.uint8))
    with pytest.raises(Unsuitable, match=r"a\.tif has pages of several sizes"):
        raster.read_frames(tmp_path / "a.tif")


def test_a_value_that_is_no_number_is_named_with_its_file(tmp_path: Path) -> None:
    _write_value(tmp_path / "a.dcm", "WindowCenter", "x")
    with pytest.raises(Unreadable, match=r"a\.dcm cannot be read as a DICOM file: could not convert"):
        read_image(tmp_path / "a.dcm")


def test_a_bounded_reader_gives_what_is_there_and_says_what_is_missing() -> None:
    reader = BoundedReader(io.BytesIO(bytes(range(200))), 200)  # type: ignore[arg-type]
    assert reader.read(100) == bytes(range(100))
    assert reader.missing == 0
    assert len(reader.read(1 << 40)) == 100
    assert reader.missing == (1 << 40) - 100
    zeros = BoundedReader(io.BytesIO(bytes(100_000)), 100_000)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="zeros where elements belong"):
        list(iter(lambda: zeros.read(8), b""))
