from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_samples import make_slice, save, write_series
from pydicom.dataset import Dataset

from osler.errors import GeometryError, StudyError, Unreadable, Unsuitable
from osler.studies.formats import read_image, sniff
from osler.studies.formats.dicom import read_identifiers
from osler.studies.formats.dicom_index import index_folder
from osler.studies.geometry import axis_codes

TILT = np.radians(20)
OBLIQUE = (1.0, 0.0, 0.0, 0.0, float(np.cos(TILT)), float(np.sin(TILT)))


def _world(image_affine: np.ndarray, index: tuple[int, int, int]) -> np.ndarray:
    return (image_affine @ [*index, 1])[:3]


def test_slices_are_sorted_by_position_and_not_by_name(tmp_path: Path) -> None:
    image = read_image(write_series(tmp_path / "series", [10, 0, 5]))
    assert image.array.shape == (1, 6, 4, 3)
    assert image.array[0, 0, 0].tolist() == [1 - 1024, 2 - 1024, 0 - 1024]
    assert [path.name for path in image.source.paths] == ["slice01.dcm", "slice02.dcm", "slice00.dcm"]


def test_the_affine_is_the_one_computed_by_hand(tmp_path: Path) -> None:
    image = read_image(write_series(tmp_path / "series", [0, 5, 10]))
    # 0.8 mm between columns runs to the left (x falls in RAS), 0.5 mm between rows to the back; (-10, -20, 0) is LPS.
    np.testing.assert_allclose(image.affine, [[-0.8, 0, 0, 10], [0, -0.5, 0, 20], [0, 0, 5, 0], [0, 0, 0, 1]])
    assert axis_codes(image.affine) == "LPS"
    assert (image.modality, image.units, image.array.dtype) == ("CT", "HU", np.int16)


def test_row_and_column_of_a_slice_become_j_and_i(tmp_path: Path) -> None:
    pixels = np.arange(24, dtype=np.uint16).reshape(4, 6)
    image = read_image(save(make_slice(pixels, RescaleIntercept=0), tmp_path / "one.dcm"))
    assert image.array.shape == (1, 6, 4)
    assert image.array[0, 5, 1] == pixels[1, 5]
    assert image.spacing == (0.8, 0.5)


def test_every_voxel_of_a_tilted_series_is_where_dicom_says(tmp_path: Path) -> None:
    step = np.array([0, 0, 3.0])  # a tilted gantry: the step is not along the normal
    for number in range(4):
        data = make_slice(np.zeros((4, 6), np.int16), np.array([1, 2, 3]) + number * step, orientation=OBLIQUE)
        save(data, tmp_path / "tilted" / f"{number}.dcm")
    affine = read_image(tmp_path / "tilted").affine
    expected = np.array([1, 2, 3]) + 5 * 0.8 * np.array(OBLIQUE[:3]) + 2 * 0.5 * np.array(OBLIQUE[3:]) + 3 * step
    np.testing.assert_allclose(_world(affine, (5, 2, 3)), expected * [-1, -1, 1], atol=1e-9)


@pytest.mark.parametrize("series", ["12-T1post-05670", "36459-FLAIRreg-76244"])
def test_a_real_series_lies_where_its_headers_say(series: str, shared: Path) -> None:
    folder = shared / "brain-mr-dicom/Study1" / series
    image = read_image(folder)
    assert image.array.shape == (1, 512, 512, 22)
    for k, path in enumerate(image.source.paths):
        data = pydicom.dcmread(path)
        np.testing.assert_array_equal(image.array[0, :, :, k], data.pixel_array.T)
        corner = np.array(data.ImagePositionPatient, float) * [-1, -1, 1]
        np.testing.assert_allclose(_world(image.affine, (0, 0, k)), corner, atol=0.01)
    assert len(image.source.uids["SOPInstanceUID"]) == 22


def test_an_mr_series_lies_where_highdicom_says(shared: Path) -> None:
    from highdicom import spatial

    folder = shared / "brain-mr-dicom/Study1/12-T1post-05670"
    image = read_image(folder)
    first, last = (pydicom.dcmread(image.source.paths[place]) for place in (0, -1))
    for k, data in ((0, first), (21, last)):
        to_lps = spatial.ImageToReferenceTransformer.for_image(data)
        # highdicom's image coordinates have (0, 0) at the corner of the first pixel: pixel centres lie at +0.5
        lps = to_lps(np.array([[100.5, 200.5]]))[0]
        np.testing.assert_allclose(_world(image.affine, (100, 200, k)), lps * [-1, -1, 1], atol=0.01)


def test_a_series_with_empty_uids_is_one_series(shared: Path) -> None:
    image = read_image(shared / "ct-organs/dicom")
    assert image.array.shape == (1, 512, 512, 20)
    np.testing.assert_allclose(image.spacing, (0.9765625, 0.9765625, 2.0))
    np.testing.assert_allclose(image.affine[:3, 3], [249.51171875, 437.51171875, -804.5])
    assert (image.array.dtype, image.window) == (np.int16, (40.0, 300.0))


ENCODINGS = [
    ("BigEndianExplicit", 0),
    ("Deflated", 0),
    ("JPEG2000LosslessOnly", 0),
    ("JPEG2000Transfer", 5),
    ("JPEGLSLossless", 0),
    ("JPEGLSLossy", 1),
    ("JPEGProcess10_12", 36),
    ("JPEGProcess14SV1", 0),
    ("JPEGProcess14Transfer", 0),
    ("JPEGProcess1Transfer", 65),
    ("JPEGProcess2_4", 36),
    ("JPEGProcess6_8", 36),
    ("LittleEndianExplicit", 0),
    ("LittleEndianImplicit", 0),
    ("RLELossless", 0),
]


@pytest.mark.parametrize(("name", "error"), ENCODINGS)
def test_every_transfer_syntax_gives_the_same_slice(name: str, error: float, shared: Path) -> None:
    folder = shared / "dicom-encodings"
    reference = read_image(folder / "CTImage.dcm").array.astype(float)
    stored = pydicom.dcmread(folder / "CTImage.dcm")
    np.testing.assert_array_equal(reference[0], stored.pixel_array.T.astype(float) - 1024)
    path = next(folder.glob(f"CTImage.dcm_{name}*"))
    assert np.abs(read_image(path).array - reference).max() <= error


@pytest.mark.parametrize(
    ("name", "error"),
    [("JPEG-LS-Lossless", 0), ("JPEG-Lossless_RGB", 0), ("JPEG-LS-NearLossless", 5), ("JPEG-Baseline_YBRFull", 60)],
)
def test_colour_comes_out_as_rgb(name: str, error: float, shared: Path) -> None:
    folder = shared / "dicom-encodings"
    reference = read_image(folder / "TestPattern_RGB.dcm").array.astype(int)
    assert reference.shape == (3, 640, 400)
    difference = np.abs(read_image(folder / f"TestPattern_{name}.dcm").array - reference)
    assert np.percentile(difference, 95) <= error


def test_palettes_of_8_and_16_bits_agree(shared: Path) -> None:
    eight, sixteen = (read_image(shared / f"dicom-encodings/TestPattern_Palette{n}.dcm").array for n in ("", "_16"))
    assert eight.dtype == sixteen.dtype == np.uint8
    np.testing.assert_array_equal(eight, sixteen)


def test_ultrasound_takes_its_spacing_from_its_calibration(shared: Path) -> None:
    image = read_image(shared / "dicom-encodings/US-YBR_FULL_422-EVRLE.dcm")
    region = pydicom.dcmread(image.source.paths[0]).SequenceOfUltrasoundRegions[0]
    assert image.spacing[0] == pytest.approx(region.PhysicalDeltaX * 10, rel=1e-4)
    assert image.spacing_known
    assert not image.orientation_known


def test_a_picture_without_spacing_says_so(shared: Path) -> None:
    assert not read_image(shared / "dicom-encodings/no-pixel-spacing.dcm").spacing_known


def test_monochrome1_is_inverted_with_its_window(shared: Path) -> None:
    path = shared / "dicom-seg-sr/dx_image.dcm"
    image, data = read_image(path), pydicom.dcmread(path)
    np.testing.assert_array_equal(image.array[0], 255 - data.pixel_array.T)
    assert image.window == (255 - 128.0, 256.0)
    assert axis_codes(image.affine)[:2] == "LI"  # PatientOrientation L, F


def test_the_shades_of_a_ct_are_quantities_and_stay(tmp_path: Path) -> None:
    data = make_slice(np.full((4, 6), 1064, np.uint16), PhotometricInterpretation="MONOCHROME1")
    assert (read_image(save(data, tmp_path / "ct.dcm")).array == 40).all()


def test_unused_high_bits_are_not_values(tmp_path: Path) -> None:
    signed = np.array([[-5, 7]], np.int16)
    stored = (signed.view(np.uint16) & 0x0FFF) | np.uint16(0x5000)  # an overlay in the four upper bits
    data = make_slice(stored, RescaleIntercept=0, BitsStored=12, HighBit=11, PixelRepresentation=1)
    assert read_image(save(data, tmp_path / "bits.dcm")).array.ravel().tolist() == [-5, 7]


def test_slopes_that_differ_between_slices_are_applied_each(tmp_path: Path) -> None:
    for number, slope in enumerate((1.5, 2.0)):
        data = make_slice(np.full((2, 2), 10, np.uint16), (0, 0, number), RescaleSlope=slope, RescaleIntercept=1)
        save(data, tmp_path / "pet" / f"{number}.dcm")
    image = read_image(tmp_path / "pet")
    assert image.array.dtype == np.float32
    assert image.array[0, 0, 0].tolist() == [16, 21]


def test_imager_pixel_spacing_serves_where_there_is_no_other(tmp_path: Path) -> None:
    data = make_slice(np.zeros((4, 6), np.uint16), None, Modality="DX", ImagerPixelSpacing=[0.2, 0.1])
    del data.PixelSpacing
    image = read_image(save(data, tmp_path / "dx.dcm"))
    assert (image.spacing, image.spacing_known, image.orientation_known) == ((0.1, 0.2), True, False)


def _multi_frame(places: list[float]) -> Dataset:
    data = make_slice(np.stack([np.full((4, 6), n, np.int16) for n in range(len(places))]), None)
    data.NumberOfFrames = len(places)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.8], 2
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for z in places:
        frame, position = Dataset(), Dataset()
        position.ImagePositionPatient = [-10, -20, z]
        frame.PlanePositionSequence = [position]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    return data


def test_an_enhanced_multi_frame_file_is_the_same_volume_as_its_slices(tmp_path: Path) -> None:
    volume = read_image(save(_multi_frame([10, 0, 5]), tmp_path / "enhanced.dcm"))
    series = read_image(write_series(tmp_path / "series", [10, 0, 5]))
    np.testing.assert_array_equal(volume.array, series.array)
    np.testing.assert_allclose(volume.affine, series.affine)


def test_a_film_is_refused(tmp_path: Path) -> None:
    data = make_slice(np.zeros((5, 4, 6), np.uint16), None, NumberOfFrames=5)
    with pytest.raises(GeometryError, match="5 frames and a position for 0"):
        read_image(save(data, tmp_path / "cine.dcm"))


def _other_orientation(folder: Path) -> None:
    save(make_slice(np.zeros((4, 6), np.int16), (-10, -20, 15), orientation=(0, 1, 0, 0, 0, -1)), folder / "x.dcm")


def _other_shape(folder: Path) -> None:
    save(make_slice(np.zeros((5, 6), np.int16), (-10, -20, 15)), folder / "x.dcm")


def _other_series(folder: Path) -> None:
    save(make_slice(np.zeros((4, 6), np.int16), (-10, -20, 15), series="1.9"), folder / "x.dcm")


def _other_spacing(folder: Path) -> None:
    save(make_slice(np.zeros((4, 6), np.int16), (-10, -20, 15), spacing=(1, 1)), folder / "x.dcm")


def _no_position(folder: Path) -> None:
    save(make_slice(np.zeros((4, 6), np.int16), None), folder / "x.dcm")


def _off_the_line(folder: Path) -> None:
    save(make_slice(np.zeros((4, 6), np.int16), (-10, 20, 15)), folder / "x.dcm")


@pytest.mark.parametrize(
    ("places", "spoil", "reason"),
    [
        ([0, 5, 15, 20], None, r"5.00 mm apart, but 10.00 mm between slices 2 and 3 of 4"),
        ([0, 5, 5, 10], None, "two slices at one place"),
        ([0, 5, 10], _no_position, "4 images and a position for 3"),
        ([0, 5, 10], _off_the_line, "do not lie on one line"),
        ([0, 5, 10], _other_shape, "mixed matrices in one series"),
        ([0, 5, 10], _other_spacing, "mixed pixel spacings in one series"),
    ],
)
def test_files_that_are_no_even_stack_are_refused(
    places: list[float], spoil: Callable[[Path], None] | None, reason: str, tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "series", places)
    if spoil:
        spoil(folder)
    with pytest.raises(GeometryError, match=reason):
        read_image(folder)


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (_other_orientation, r"sagittal 1 slice of 6×4"),
        (_other_series, "2 images in 2 series"),
    ],
)
def test_what_is_not_of_the_stack_is_an_image_of_its_own_and_has_to_be_named(
    spoil: Callable[[Path], None], what: str, tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    spoil(folder)
    with pytest.raises(Unsuitable, match=what):
        read_image(folder)
    keys = [image.key for image in index_folder(folder).images]
    assert [read_image(folder, key=key).dimensions for key in keys] == [3, 2]


def test_a_slice_cut_off_spoils_the_series_and_is_named(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    path = folder / "slice01.dcm"
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(Unreadable, match="slice01"):
        read_image(folder)


@pytest.mark.parametrize(
    "name", ["CTImage.dcm_JPEGProcess1Transfer", "CTImage.dcm_RLE", "CTImage.dcm_JPEG2000Lossless"]
)
def test_compressed_pixels_cut_off_are_refused(name: str, shared: Path, tmp_path: Path) -> None:
    data = next((shared / "dicom-encodings").glob(f"{name}*")).read_bytes()
    (tmp_path / "cut.dcm").write_bytes(data[: len(data) * 3 // 4])
    with pytest.raises(Unreadable, match="cut"):
        read_image(tmp_path / "cut.dcm")


def test_what_is_no_image_is_refused_with_its_kind(shared: Path) -> None:
    with pytest.raises(Unsuitable, match="is no image: Basic Text SR"):
        read_image(shared / "dicom-encodings/no-pixel-data.dcm")
    with pytest.raises(Unsuitable, match="Segmentation Storage"):
        read_image(shared / "dicom-seg-sr/seg_image_ct_binary.dcm")


def test_dicom_is_recognised_without_a_suffix(shared: Path) -> None:
    assert sniff(next((shared / "ct-organs/dicom").iterdir())) == "dicom"
    assert sniff(shared / "ct-organs/dicom") == "dicom"
    assert sniff(shared / "brain-mr-dicom") is None


def test_a_dicomdir_in_the_folder_is_passed_over(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5])
    (folder / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    assert read_image(folder).array.shape == (1, 6, 4, 2)


def test_identifiers_are_given_only_when_asked_for_and_never_shown(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5])
    who = read_identifiers(folder)
    assert (who.patient_id, who.patient_name) == ("secret-id", "Secret^Name")
    assert "ecret" not in repr(who) + repr(read_image(folder))
    save(make_slice(np.zeros((5, 6), np.int16), (0, 0, 9)), folder / "x.dcm")
    with pytest.raises(StudyError) as caught:
        read_image(folder)
    assert "ecret" not in str(caught.value)
