"""Every format goes through the same tests: what it writes it reads back, and what is damaged it refuses by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import tifffile
from dicom_samples import make_slice, save

from osler.errors import OutputExists, PathNotFound, StorageError, Unreadable, Unsuitable, UsageError
from osler.studies.formats import (
    FORMATS,
    SIGNAL_FORMATS,
    read_frames,
    read_image,
    read_labels,
    read_signals,
    sniff,
    write_image,
)
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


def _large_picture() -> Image:
    values = np.random.default_rng(0).integers(0, 200, (3, 70, 50))
    return Image(values.astype(np.uint8), PICTURE_AFFINE, spacing_known=False, orientation_known=False)


def _large_grey() -> Image:
    return Image(np.full((1, 64, 48), 90, np.uint8), PICTURE_AFFINE, spacing_known=False, orientation_known=False)


def _flat_archive(image: Image, path: Path) -> None:
    np.savez(path, images=np.transpose(image.array)[None, ..., 0])


def _dicom(image: Image, path: Path) -> None:
    save(make_slice(np.ascontiguousarray(image.array[0].T), None, RescaleIntercept=0, Modality="OT"), path)


def _jpeg(image: Image, path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(np.full(image.shape[::-1], 7, dtype=np.uint8)).save(path)


def _gif(image: Image, path: Path) -> None:
    import PIL.Image

    PIL.Image.fromarray(image.array[0].T).save(path)


def _film(image: Image, path: Path) -> None:
    import cv2

    rows = np.repeat(image.array[0].T[..., None], 3, axis=-1)
    film = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 10, image.shape)
    film.write(rows)
    film.release()


def _slide(image: Image, path: Path) -> None:
    rows = np.transpose(image.array)
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "tile": (16, 16), "resolution": (20_000, 20_000), "resolutionunit": 3}
        file.write(rows, subifds=1, **options)
        file.write(rows[::2, ::2], subfiletype=1, **options)


def _pair(image: Image, path: Path) -> None:
    import nibabel

    nibabel.save(nibabel.Nifti1Pair(image.array[0], image.affine), path)


def _detached_nrrd(image: Image, path: Path) -> None:
    import SimpleITK

    SimpleITK.WriteImage(_itk(image), path)


def _itk(image: Image) -> object:
    import SimpleITK

    file, affine = SimpleITK.GetImageFromArray(image.array[0].T), np.diag([-1, -1, 1, 1]) @ image.affine
    file.SetSpacing([float(step) for step in image.spacing])
    file.SetOrigin(affine[:3, 3].tolist())
    file.SetDirection((affine[:3, :3] / np.array(image.spacing)).ravel().tolist())
    return file


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
    Sample(".hdr", "nifti", _volume(np.int16), _pair),
    *(Sample(".nrrd", "nrrd", _volume(dtype)) for dtype in (np.uint8, np.int16, np.int64, np.float32)),
    Sample(".nrrd", "nrrd", _volume(np.uint16, 3)),
    Sample(".nhdr", "nrrd", _volume(np.int16), _detached_nrrd),
    *(Sample(".mha", "metaimage", _volume(dtype)) for dtype in (np.uint8, np.int16, np.int64, np.float32)),
    Sample(".mha", "metaimage", _volume(np.uint16, 3)),
    Sample(".mhd", "metaimage", _volume(np.int16), _detached_nrrd),
    Sample(".tif", "slide", _large_picture(), _slide),
    Sample(".gif", "clip", _picture(np.uint8), _gif),
]
GEOMETRY = ("nifti", "nrrd", "metaimage")
HEADERS = (".hdr", ".nhdr", ".mhd")  # their data lie in another file
LOSSY = [Sample(".jpg", "raster", _picture(np.uint8), _jpeg), Sample(".avi", "clip", _large_grey(), _film)]
EACH = [*EXACT, *LOSSY]


def _wfdb(folder: Path) -> Path:
    wave = np.round(np.sin(np.arange(500) / 20) * 300).astype("<i2")
    (folder / "case.dat").write_bytes(wave.tobytes())
    (folder / "case.hea").write_text(f"case 1 250 500\ncase.dat 16 200/mV 16 0 0 {int(wave.sum()) % 65536} 0 II\n")
    return folder / "case.hea"


def _edf(folder: Path) -> Path:
    import edfio

    wave = np.sin(np.arange(500) / 20)
    edfio.Edf([edfio.EdfSignal(wave, 250, label="II", physical_dimension="mV")]).write(folder / "case.edf")
    return folder / "case.edf"


def _waveform(folder: Path) -> Path:
    """The real 12-lead ECG that pydicom ships: its first lead, 500 samples, as if at 250 Hz and in mV."""
    data = pydicom.dcmread(pydicom.data.get_testdata_file("waveform_ecg.dcm"))
    (group, _) = data.WaveformSequence
    whole = np.frombuffer(group.WaveformData, "<i2").reshape(-1, 12)
    group.NumberOfWaveformChannels, group.NumberOfWaveformSamples, group.SamplingFrequency = 1, 500, 250
    group.ChannelDefinitionSequence = group.ChannelDefinitionSequence[:1]
    group.ChannelDefinitionSequence[0].ChannelSensitivityUnitsSequence[0].CodeValue = "mV"
    group.WaveformData = np.ascontiguousarray(whole[:500, :1]).tobytes()
    data.WaveformSequence = [group]
    data.save_as(folder / "case.dcm")
    return folder / "case.dcm"


SIGNALS: dict[str, Callable[[Path], Path]] = {"wfdb": _wfdb, "edf": _edf, "dicom-waveform": _waveform}


def _id(sample: Sample) -> str:
    return f"{sample.suffix[1:]}-{sample.image.array.dtype}-{sample.image.array.shape[0]}"


@pytest.fixture(params=[sample for sample in EACH if sample.suffix not in HEADERS], ids=_id)
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
    assert (image.source.format, image.source.paths[0]) == (sample.format, path)
    assert len(image.source.paths) == (2 if sample.suffix in HEADERS else 1)
    if sample.format in GEOMETRY:
        np.testing.assert_allclose(image.affine, sample.image.affine, atol=1e-5)
        assert image.spacing_known
        assert image.orientation_known


@pytest.mark.parametrize("sample", LOSSY, ids=_id)
def test_lossy_formats_give_back_nearly_what_was_written(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / f"case{sample.suffix}"
    sample.write(sample.image, path)
    assert read_image(path).array.shape == sample.image.array.shape
    assert np.abs(read_image(path).array.astype(int) - (7 if sample.suffix == ".jpg" else 90)).max() <= 3
    with pytest.raises(Unsuitable, match="case"):
        read_labels(path)


@pytest.mark.parametrize("sample", [one for one in EXACT if one.suffix in HEADERS], ids=_id)
def test_a_header_whose_data_are_cut_off_or_missing_is_refused(sample: Sample, tmp_path: Path) -> None:
    sample.write(sample.image, tmp_path / f"case{sample.suffix}")
    data = next(file for file in tmp_path.iterdir() if file.suffix != sample.suffix)
    data.write_bytes(data.read_bytes()[:-5])
    with pytest.raises(Unreadable, match=f"case.*{'cut off|fewer|ended' if data.suffix != '.gz' else 'case'}"):
        read_image(tmp_path / f"case{sample.suffix}")
    with pytest.raises(Unreadable, match="is the data of case"):
        read_image(data)
    data.unlink()
    with pytest.raises(Unreadable, match="not there"):
        read_image(tmp_path / f"case{sample.suffix}")


@pytest.mark.parametrize("sample", [one for one in EACH if one.format not in ("npz", "dicom", "slide")], ids=_id)
def test_one_image_is_a_sequence_of_one_frame(sample: Sample, tmp_path: Path) -> None:
    path = tmp_path / f"case{sample.suffix}"
    sample.write(sample.image, path)
    frames = read_frames(path)
    whole = read_image(path)
    if len(frames.images) == 1:
        np.testing.assert_array_equal(frames.images[0].array, whole.array)
        np.testing.assert_array_equal(read_image(path, index=0).array, whole.array)
    else:  # a fourth axis of NIfTI may be either
        np.testing.assert_array_equal(np.concatenate([one.array for one in frames.images]), whole.array)
    with pytest.raises(UsageError, match="case"):
        read_image(path, index=99)
    with pytest.raises(UsageError, match="none of them is in range"):
        read_frames(path, start=99)


@pytest.mark.parametrize("name", [one.NAME for one in SIGNAL_FORMATS])
def test_every_signal_format_reads_and_refuses(name: str, tmp_path: Path) -> None:
    path = SIGNALS[name](tmp_path)
    assert sniff(path) == name
    (signal,) = read_signals(path).values()
    assert signal.samples.shape == (len(signal.leads), 500)
    assert (signal.rate_hz, signal.unit, signal.samples.dtype) == (250.0, "mV", np.float32)
    with pytest.raises(Unsuitable, match="is a signal and no image"):
        read_image(path)
    whole = path.read_bytes()
    for data in (whole[:20], b"notes about a patient\n" * 50, b""):
        path.write_bytes(data)
        with pytest.raises(Unreadable, match=path.name):
            read_signals(path)
    with pytest.raises(PathNotFound, match="does not exist"):
        read_signals(tmp_path / "nowhere")


def test_every_signal_format_has_a_sample() -> None:
    assert {one.NAME for one in SIGNAL_FORMATS} == set(SIGNALS)


def test_what_has_no_frames_or_no_signals_says_so(tmp_path: Path) -> None:
    write_image(_picture(np.uint8), tmp_path / "a.npz")
    with pytest.raises(UsageError, match="npz, which has no frames"):
        read_frames(tmp_path / "a.npz")
    with pytest.raises(Unreadable, match="no signals that Osler knows"):
        read_signals(tmp_path / "a.npz")


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
    with pytest.raises((Unreadable, Unsuitable, UsageError), match="case"):
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
    for suffix in (".nii.gz", ".nii", ".nrrd", ".mha"):
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
