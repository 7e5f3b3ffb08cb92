"""Every format goes through the same tests: what it writes it reads back, and what is damaged it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from dicom_samples import make_slice, save

from osler.errors import OutputExists, PathNotFound, StorageError, Unreadable, UsageError
from osler.studies.formats import FORMATS, read_image, read_labels, sniff, write_image
from osler.studies.geometry import PICTURE_AFFINE
from osler.studies.image import Image

AFFINE = np.array([[-0.9, 0, 0, 10], [0, 1.1, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1]])


@dataclass(frozen=True)
class Sample:
    """A file of a format: its suffix, the format's name, and an image that it holds."""

    suffix: str
    format: str
    image: Image
    write: Callable[[Image, Path], object] = write_image


def _volume(dtype: type, channels: int = 1) -> Image:
    values = np.random.default_rng(0).integers(0, 200, (channels, 5, 6, 7))
    return Image(values.astype(dtype), AFFINE)


def _picture(dtype: type, channels: int = 1) -> Image:
    values = np.random.default_rng(0).integers(0, 200, (channels, 9, 8))
    return Image(values.astype(dtype), PICTURE_AFFINE, spacing_known=False, orientation_known=False)


def _flat_archive(image: Image, path: Path) -> None:
    np.savez(path, images=np.transpose(image.array)[None, ..., 0])


def _dicom(image: Image, path: Path) -> None:
    save(make_slice(np.ascontiguousarray(image.array[0].T), None, RescaleIntercept=0, Modality="OT"), path)


def _jpeg(image: Image, path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(np.full(image.shape[::-1], 7, dtype=np.uint8)).save(path)


EXACT = [
    Sample(".nii.gz", "nifti", _volume(np.int16)),
    Sample(".nii.gz", "nifti", _volume(np.uint8, 2)),
    Sample(".nii", "nifti", _volume(np.float32)),
    Sample(".nii", "nifti", _volume(np.int32)),
    Sample(".png", "raster", _picture(np.uint8)),
    Sample(".png", "raster", _picture(np.uint16)),
    Sample(".png", "raster", _picture(np.uint8, 3)),
    Sample(".png", "raster", _picture(np.uint16, 3)),
    Sample(".tif", "raster", _picture(np.uint16)),
    Sample(".tiff", "raster", _picture(np.float32)),
    Sample(".tif", "raster", _picture(np.uint8, 3)),
    Sample(".npz", "npz", _picture(np.uint8)),
    Sample(".npz", "npz", _picture(np.uint8, 3)),
    Sample(".npz", "npz", _picture(np.int16), _flat_archive),
    Sample(".dcm", "dicom", _picture(np.uint16), _dicom),
]
EACH = [*EXACT, Sample(".jpg", "raster", _picture(np.uint8), _jpeg)]


def _id(sample: Sample) -> str:
    return f"{sample.suffix[1:]}-{sample.image.array.dtype}-{sample.image.array.shape[0]}"


@pytest.fixture(params=EACH, ids=_id)
def written(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    sample: Sample = request.param
    path = tmp_path / f"case{sample.suffix}"
    sample.write(sample.image, path)
    return path


def test_every_format_has_a_sample() -> None:
    assert {sample.format for sample in EACH} == {one.NAME for one in FORMATS}
    assert {suffix for one in FORMATS for suffix in getattr(one, "WRITES", ())} == {
        sample.suffix for sample in EXACT if sample.write is write_image
    }


@pytest.mark.parametrize("sample", EXACT, ids=_id)
def test_what_was_written_is_read_back_with_its_dtype(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / f"case{sample.suffix}"
    sample.write(sample.image, path)
    image = read_image(path)
    np.testing.assert_array_equal(image.array, sample.image.array)
    assert image.array.dtype == sample.image.array.dtype
    assert (image.source.format, image.source.paths) == (sample.format, (path,))
    if sample.format == "nifti":
        np.testing.assert_allclose(image.affine, sample.image.affine, atol=1e-5)


def test_a_file_is_recognised(written: Path) -> None:
    assert sniff(written) in {one.NAME for one in FORMATS}


def test_a_truncated_file_is_refused_with_its_name(written: Path) -> None:
    data = written.read_bytes()
    for size in (len(data) * 2 // 3, len(data) - 30, 40):
        written.write_bytes(data[:size])
        with pytest.raises(Unreadable, match=f"case{written.suffix}|case.nii.gz"):
            read_image(written)


def test_an_empty_file_is_refused(written: Path) -> None:
    written.write_bytes(b"")
    with pytest.raises(Unreadable, match="empty"):
        read_image(written)


def test_text_under_a_known_suffix_is_refused(written: Path) -> None:
    written.write_text("these are my notes about the patient's scan\n" * 50)
    with pytest.raises(Unreadable, match="case"):
        read_image(written)
    with pytest.raises((Unreadable, UsageError), match="case"):
        read_labels(written)


def test_a_folder_under_a_known_suffix_is_refused(written: Path) -> None:
    written.unlink()
    written.mkdir()
    with pytest.raises(Unreadable, match="folder without DICOM"):
        read_image(written)


def test_a_missing_path_is_a_usage_error() -> None:
    with pytest.raises(PathNotFound, match="does not exist"):
        read_image("nowhere.nii.gz")


def test_an_unknown_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("notes")
    assert sniff(tmp_path / "notes.txt") is None
    with pytest.raises(Unreadable, match="no format that Osler knows"):
        read_image(tmp_path / "notes.txt")


def test_nothing_is_overwritten_unasked(tmp_path: Path) -> None:
    image, path = _volume(np.uint8), tmp_path / "mask.nii.gz"
    write_image(image, path)
    with pytest.raises(OutputExists, match="exists already"):
        write_image(image, path)
    write_image(image, path, overwrite=True)
    assert [file.name for file in tmp_path.iterdir()] == ["mask.nii.gz"]


def test_the_same_image_gives_the_same_bytes(tmp_path: Path) -> None:
    for suffix in (".nii.gz", ".nii"):
        write_image(_volume(np.int16), tmp_path / f"a{suffix}")
        write_image(_volume(np.int16), tmp_path / f"b{suffix}")
        assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()


def test_a_folder_that_is_not_there_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot write"):
        write_image(_volume(np.uint8), tmp_path / "nowhere" / "mask.nii.gz")


@pytest.mark.parametrize(
    ("image", "name", "reason"),
    [
        (_volume(np.uint8), "mask.png", "not a picture"),
        (_picture(np.float32), "mask.png", "cannot hold float32"),
        (_picture(np.uint8), "mask.jpg", "no writer"),
        (_picture(np.uint8), "mask.dcm", "no writer"),
    ],
)
def test_what_a_format_cannot_hold_is_refused(image: Image, name: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=reason):
        write_image(image, tmp_path / name)
    assert not list(tmp_path.iterdir())
