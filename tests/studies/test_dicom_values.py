"""What stored values mean: units, SUV, windows, brightness curves, and spacing of projections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from dicom_samples import make_slice, save
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import UltrasoundImageStorage

from osler.studies.formats import read_image
from osler.studies.formats._dicom_suv import suv_factor
from osler.studies.pictures import overlay
from osler.studies.views import through_curve, through_window, window_of

HALF_LIFE, DOSE, WEIGHT = 6586.2, 370e6, 70.0  # F-18


def _pet(**changes: Any) -> Dataset:
    """A PET slice of 1000 Bq/mL, scanned one half-life after the injection."""
    data = make_slice(np.full((4, 6), 500, np.uint16), RescaleSlope=2, RescaleIntercept=0, Modality="PT")
    data.Units, data.CorrectedImage, data.DecayCorrection = "BQML", ["DECY", "ATTN", "SCAT"], "START"
    data.PatientWeight = WEIGHT
    data.SeriesDate, data.SeriesTime = "20240102", "121946.2"
    data.AcquisitionDate, data.AcquisitionTime = "20240102", "122000"
    item = Dataset()
    item.RadionuclideTotalDose, item.RadionuclideHalfLife = DOSE, HALF_LIFE
    item.RadiopharmaceuticalStartTime = "103000"
    data.RadiopharmaceuticalInformationSequence = [item]
    for keyword, value in changes.items():
        place = item if keyword.startswith("Radio") else data
        setattr(place, keyword, value)
    return data


def test_uptake_is_concentration_by_dose_and_weight(tmp_path: Path) -> None:
    image = read_image(save(_pet(), tmp_path / "pet.dcm"))
    # 10:30:00 to 12:19:46.2 is 6586.2 s, one half-life: half of the dose is left.
    assert image.array[0, 0, 0] == pytest.approx(1000 * 70_000 / (DOSE / 2), rel=1e-6)
    assert (image.units, image.array.dtype) == ("g/mL{SUVbw}", np.float32)
    assert "computed from dose, weight and times" in image.notes[-1]


def test_slopes_of_slices_and_uptake_go_together(tmp_path: Path) -> None:
    for number, slope in enumerate((2, 4)):
        data = _pet(RescaleSlope=slope, ImagePositionPatient=[0, 0, 3.0 * number])
        save(data, tmp_path / "pet" / f"{number}.dcm")
    values = read_image(tmp_path / "pet").array[0, 0, 0]
    np.testing.assert_allclose(values, [1000 * 70_000 / (DOSE / 2), 2000 * 70_000 / (DOSE / 2)], rtol=1e-6)


@pytest.mark.parametrize(
    ("changes", "factor"),
    [
        ({"DecayCorrection": "ADMIN"}, 70_000 / DOSE),
        ({"Units": "GML"}, 1.0),
        ({"RadiopharmaceuticalStartDateTime": "20240102103000.00"}, 70_000 / (DOSE / 2)),
        (  # over midnight: the time of day of the injection is that of the day before
            {"SeriesTime": "000946.2", "AcquisitionTime": "001000", "RadiopharmaceuticalStartTime": "222000"},
            70_000 / (DOSE / 2),
        ),
    ],
)
def test_the_factor_follows_what_the_decay_was_corrected_to(changes: dict[str, Any], factor: float) -> None:
    assert suv_factor(_pet(**changes))[0] == pytest.approx(factor, rel=1e-6)


def test_the_factors_of_philips_serve_for_counts() -> None:
    data = _pet(Units="CNTS")
    assert suv_factor(data) == (None, "values are not SUV: they are counts, without the factors that Philips stores")
    block = data.private_block(0x7053, "Philips PET Private Group", create=True)
    block.add_new(0x09, "DS", "3.5")
    assert suv_factor(data)[0] == pytest.approx(3.5 * 70_000 / (DOSE / 2), rel=1e-6)
    block.add_new(0x00, "DS", "0.0004")
    assert suv_factor(data)[0] == pytest.approx(0.0004)


def test_a_post_processed_series_takes_the_scan_time_of_ge() -> None:
    data = _pet(SeriesTime="180000")
    assert "made after its acquisition" in suv_factor(data)[1]
    block = data.private_block(0x0009, "GEMS_PETD_01", create=True)
    block.add_new(0x0D, "DT", "20240102121946.20")
    assert suv_factor(data)[0] == pytest.approx(70_000 / (DOSE / 2), rel=1e-6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"PatientWeight": None}, "the weight of the patient is not given"),
        ({"PatientWeight": 70_000}, "a weight of 70000 kg is none"),
        ({"RadionuclideTotalDose": 370}, "a dose of 370 Bq"),
        ({"RadionuclideHalfLife": 0}, "a half-life of 0 s"),
        ({"CorrectedImage": ["DECY"]}, "not corrected for attenuation and decay"),
        ({"DecayCorrection": "NONE"}, "the decay is corrected to NONE"),
        ({"Units": "PROPCNTS"}, "their unit is PROPCNTS"),
        ({"Units": "GML", "SUVType": "LBM"}, "SUV of type LBM"),
        ({"RadiopharmaceuticalStartTime": None}, "the time of the injection is not given"),
        ({"RadiopharmaceuticalStartDateTime": "20231224103000"}, "not within the day before the scan"),
        ({"SeriesTime": None}, "the time of the scan is not given"),
        ({"RadiopharmaceuticalInformationSequence": None}, "the radiopharmaceutical is not described"),
    ],
)
def test_without_what_it_needs_the_values_stay_as_they_are(
    changes: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    data = _pet(**{key: value for key, value in changes.items() if key != "RadiopharmaceuticalInformationSequence"})
    if "RadiopharmaceuticalInformationSequence" in changes:
        del data.RadiopharmaceuticalInformationSequence
    image = read_image(save(data, tmp_path / "pet.dcm"))
    assert int(image.array.max()) == 1000
    assert image.units == ("Bq/mL" if data.Units == "BQML" else "")
    assert image.notes[-1].startswith("values are not SUV: ")
    assert reason in image.notes[-1]


def _with_table(data: Dataset, sequence: str, outputs: np.ndarray, first: int, bits: int) -> Dataset:
    item = Dataset()
    item.add_new(0x00283002, "US", [len(outputs), first, bits])
    item.add_new(0x00283006, "OW", outputs.astype("<u2").tobytes())
    setattr(data, sequence, [item])
    return data


RAMP = np.arange(24, dtype=np.uint16).reshape(4, 6) * 40


def test_a_voi_table_shows_what_pydicom_shows(tmp_path: Path) -> None:
    outputs = np.round(4095 * np.linspace(0, 1, 900) ** 2)
    data = _with_table(make_slice(RAMP, None, Modality="DX", RescaleIntercept=0), "VOILUTSequence", outputs, 10, 12)
    image = read_image(save(data, tmp_path / "dx.dcm"))
    shown = through_curve(image)
    expected = apply_voi_lut(RAMP, data) / 4095 * 255
    np.testing.assert_allclose(shown.array[0].T, expected, atol=0.07)
    assert window_of(shown) == (127.5, 255.0)
    np.testing.assert_array_equal(through_curve(shown).array, shown.array)
    assert image.window == (10 + 899 / 2, 899.0)
    assert overlay(image).size[0] > 0


def test_a_sigmoid_window_shows_what_pydicom_shows(tmp_path: Path) -> None:
    data = make_slice(RAMP, None, Modality="DX", RescaleIntercept=0, WindowCenter=400, WindowWidth=300)
    data.VOILUTFunction = "SIGMOID"
    image = through_curve(read_image(save(data, tmp_path / "dx.dcm")))
    expected = apply_voi_lut(RAMP, data)
    np.testing.assert_allclose(image.array[0].T, expected / 65535 * 255, atol=0.8)


def test_an_inverted_picture_is_shown_as_its_file_means_it(tmp_path: Path) -> None:
    outputs = np.round(4095 * np.linspace(0, 1, 900) ** 2)
    data = make_slice(RAMP, None, Modality="DX", RescaleIntercept=0, PhotometricInterpretation="MONOCHROME1")
    data.BitsStored, data.HighBit = 12, 11
    image = through_curve(read_image(save(_with_table(data, "VOILUTSequence", outputs, 10, 12), tmp_path / "dx.dcm")))
    expected = 255 - apply_voi_lut(RAMP, data) / 4095 * 255
    np.testing.assert_allclose(image.array[0].T, expected, atol=0.07)


def test_an_inverted_window_keeps_the_same_voxels_white(tmp_path: Path) -> None:
    data = make_slice(RAMP, None, Modality="CR", RescaleIntercept=5, RescaleSlope=2, WindowCenter=900, WindowWidth=400)
    data.BitsStored, data.HighBit = 12, 11
    plain = read_image(save(data, tmp_path / "plain.dcm"))
    data.PhotometricInterpretation = "MONOCHROME1"
    turned = read_image(save(data, tmp_path / "turned.dcm"))
    assert plain.window
    assert turned.window
    one, other = (through_window(image.array[0], image.window) for image in (plain, turned))  # type: ignore[arg-type]
    assert np.abs(one.astype(int) - (255 - other.astype(int))).max() <= 1


def test_a_modality_table_is_applied_as_pydicom_applies_it(tmp_path: Path) -> None:
    outputs = np.linspace(0, 60_000, 1000)
    data = _with_table(make_slice(RAMP, None, Modality="DX"), "ModalityLUTSequence", outputs, 0, 16)
    del data.RescaleSlope, data.RescaleIntercept
    expected = apply_modality_lut(RAMP, data)
    np.testing.assert_array_equal(read_image(save(data, tmp_path / "dx.dcm")).array[0].T, expected)
    data.PhotometricInterpretation = "MONOCHROME1"
    np.testing.assert_array_equal(read_image(save(data, tmp_path / "b.dcm")).array[0].T, 65535 - expected)


@pytest.mark.parametrize(
    ("tags", "spacing", "note"),
    [
        ({"ImagerPixelSpacing": [0.2, 0.1]}, (0.1, 0.2), "at the detector"),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "EstimatedRadiographicMagnificationFactor": 1.25},
            (0.08, 0.16),
            "divided by the magnification 1.25 (EstimatedRadiographicMagnificationFactor)",
        ),
        (
            {"ImagerPixelSpacing": [0.2, 0.1], "DistanceSourceToDetector": 1800, "DistanceSourceToPatient": 1500},
            (0.1 / 1.2, 0.2 / 1.2),
            "divided by the magnification 1.2 (DistanceSourceToDetector by DistanceSourceToPatient)",
        ),
        ({"ImagerPixelSpacing": [0.2, 0.1], "PixelSpacing": [0.2, 0.1]}, (0.1, 0.2), "at the detector"),
        ({"ImagerPixelSpacing": [0.2, 0.1], "PixelSpacing": [0.18, 0.09]}, (0.09, 0.18), "PixelSpacing, calibrated"),
        (
            {"PixelSpacing": [0.18, 0.09], "PixelSpacingCalibrationType": "FIDUCIAL"},
            (0.09, 0.18),
            "calibrated by an object of known size",
        ),
        ({"PixelSpacing": [0.18, 0.09]}, (0.09, 0.18), "does not say whether it is in the patient"),
    ],
)
def test_the_spacing_of_a_radiograph_says_where_it_holds(
    tags: dict[str, Any], spacing: tuple[float, float], note: str, tmp_path: Path
) -> None:
    data = make_slice(np.zeros((4, 6), np.uint16), None, Modality="DX")
    del data.PixelSpacing
    for keyword, value in tags.items():
        setattr(data, keyword, value)
    image = read_image(save(data, tmp_path / "dx.dcm"))
    assert image.spacing == pytest.approx(spacing)
    assert image.spacing_known
    assert note in image.notes[-1]


def test_a_dose_is_scaled_and_lies_where_its_offsets_say() -> None:
    path = get_testdata_file("rtdose.dcm")
    image, data = read_image(str(path)), pydicom.dcmread(str(path))
    np.testing.assert_allclose(np.transpose(image.array[0]), data.pixel_array * float(data.DoseGridScaling), rtol=1e-5)
    step = float(data.GridFrameOffsetVector[1])
    np.testing.assert_allclose(image.affine[:3, 2], [0, 0, step], atol=1e-6)


def test_pixels_that_are_not_square_are_said_where_no_spacing_is_known(tmp_path: Path) -> None:
    data = make_slice(np.arange(24, dtype=np.uint8).reshape(4, 6), None, Modality="US", PixelAspectRatio=[2, 1])
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = UltrasoundImageStorage
    del data.PixelSpacing
    image = read_image(save(data, tmp_path / "us.dcm"))
    assert not image.spacing_known
    assert any("2 times as high as wide (PixelAspectRatio)" in note for note in image.notes)
    data.PixelAspectRatio = [1, 1]
    assert read_image(save(data, tmp_path / "square.dcm")).notes == ()


def test_padding_is_counted_and_keeps_its_value(tmp_path: Path) -> None:
    pixels = np.zeros((4, 6), np.int16)
    pixels[0] = -2000
    image = read_image(save(make_slice(pixels, PixelPaddingValue=-2000), tmp_path / "ct.dcm"))
    assert image.array.min() == -3024
    assert image.notes == ("25 % of it is padding around what was scanned (PixelPaddingValue), left at -3024 HU",)
    pixels[0] = 0
    assert read_image(save(make_slice(pixels, PixelPaddingValue=-2000), tmp_path / "none.dcm")).notes == ()
    may_be_tissue = make_slice(pixels, PixelPaddingValue=0, Modality="MR", RescaleIntercept=0)
    assert read_image(save(may_be_tissue, tmp_path / "mr.dcm")).notes == ()
