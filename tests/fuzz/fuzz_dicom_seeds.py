"""Small sound DICOM files of every kind that is read."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_judge import PLANTED

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "studies")]
from dicom_samples import make_slice, save  # noqa: E402

from dicom_label_samples import write_rtstruct, write_seg, write_series  # noqa: E402

__all__ = ["dicom_seeds", "rtstruct_seeds", "seg_seeds", "waveform_seeds"]

# Of pydicom's own test files (MIT): syntaxes, colours, multi-frame and what is none.
_OF_PYDICOM = (
    "MR_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "MR_small_RLE.dcm", "MR_small_jp2klossless.dcm",
    "MR_small_jpeg_ls_lossless.dcm", "image_dfl.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_rle_2frame.dcm",
    "JPGExtended.dcm",
    "SC_rgb_small_odd.dcm", "rtdose.dcm", "693_J2KI.dcm", "ExplVR_LitEndNoMeta.dcm", "UN_sequence.dcm", "test-SR.dcm",
    "JPEGLSNearLossless_16.dcm", "SC_rgb_dcmtk_+eb+cy+n1.dcm", "MR_small_expb.dcm",
)  # fmt: skip


def dicom_seeds(folder: Path) -> Sequence[Path]:
    """Images: a series, multi-frame, tables, a film, and files of pydicom's in many syntaxes."""
    from pydicom.data import get_testdata_file

    paths: list[Path] = []
    rng = np.random.default_rng(0)
    for n in range(3):
        data = make_slice(rng.integers(0, 99, (5, 6)).astype(np.int16), (0, 0, 2.0 * n), PatientName=PLANTED)
        save(data, folder / "series" / f"{n}.dcm")
    paths.append(folder / "series")
    paths.append(save(_enhanced(), folder / "enhanced" / "a.dcm"))
    paths.append(save(_with_tables(), folder / "tables" / "a.dcm"))
    paths.append(save(_film(), folder / "film" / "a.dcm"))
    for name in _OF_PYDICOM:
        source = get_testdata_file(name, download=False)
        if source is not None:
            target = folder / name.replace(".dcm", "") / "a.dcm"
            target.parent.mkdir(parents=True)
            target.write_bytes(Path(str(source)).read_bytes())
            paths.append(target)
    return paths


def _item(**attributes: Any) -> Any:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _enhanced() -> Any:
    """A multi-frame file with functional groups."""
    pixels = np.arange(3 * 5 * 6, dtype=np.uint16).reshape(3, 5, 6)
    data = make_slice(pixels, None, PatientName=PLANTED, NumberOfFrames=3, SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1")
    data.file_meta.MediaStorageSOPClassUID = data.SOPClassUID
    shared = _item(
        PixelMeasuresSequence=[_item(PixelSpacing=[1, 1], SliceThickness=2)],
        PlaneOrientationSequence=[_item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelValueTransformationSequence=[_item(RescaleSlope=2, RescaleIntercept=-5)],
        FrameVOILUTSequence=[_item(WindowCenter=50, WindowWidth=100)],
    )
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = [
        _item(
            PlanePositionSequence=[_item(ImagePositionPatient=[0, 0, 2.0 * n])],
            FrameContentSequence=[_item(TemporalPositionIndex=1, StackID="1", InStackPositionNumber=n + 1)],
        )
        for n in range(3)
    ]
    return data


def _with_tables() -> Any:
    """PET with a palette-free VOI LUT, dose and times."""
    data = make_slice(np.arange(30, dtype=np.uint16).reshape(5, 6), PatientName=PLANTED, Modality="PT", Units="BQML")
    table = _item(LUTDescriptor=[64, 0, 8], LUTData=bytes(128))
    data.VOILUTSequence = [table]
    data["VOILUTSequence"].value[0]["LUTDescriptor"].VR = "US"
    data.VOILUTFunction, data.WindowCenter, data.WindowWidth = "SIGMOID", 10, 20
    data.CorrectedImage, data.DecayCorrection, data.PatientWeight = ["ATTN", "DECY"], "START", 70
    data.SeriesDate = data.AcquisitionDate = "20200101"
    data.SeriesTime = data.AcquisitionTime = "120000"
    dose = _item(RadionuclideTotalDose=3e8, RadionuclideHalfLife=6586, RadiopharmaceuticalStartTime="110000")
    data.RadiopharmaceuticalInformationSequence = [dose]
    return data


def _film() -> Any:
    """An ultrasound film in palette colour with a calibrated region."""
    data = make_slice(np.arange(60, dtype=np.uint8).reshape(2, 5, 6), None, PatientName=PLANTED, NumberOfFrames=2)
    data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.3.1"
    data.Modality, data.PhotometricInterpretation = "US", "PALETTE COLOR"
    for colour in ("Red", "Green", "Blue"):
        setattr(data, f"{colour}PaletteColorLookupTableDescriptor", [256, 0, 16])
        data[f"{colour}PaletteColorLookupTableDescriptor"].VR = "US"
        setattr(data, f"{colour}PaletteColorLookupTableData", np.arange(256, dtype="<u2").tobytes())
    region = {"PhysicalUnitsXDirection": 3, "PhysicalUnitsYDirection": 3, "PhysicalDeltaX": 0.1, "PhysicalDeltaY": 0.1}
    data.SequenceOfUltrasoundRegions = [_item(RegionLocationMinX0=0, RegionLocationMaxX1=5, **region)]
    return data


def seg_seeds(folder: Path) -> Sequence[Path]:
    """Segmentations of every kind beside their series."""
    paths = []
    for kind in ("BINARY", "FRACTIONAL", "LABELMAP"):
        series = write_series(folder / kind / "series", (6, 5, 3), patient=PLANTED)
        mask = np.zeros(series.shape, bool)
        mask[1:4, 1:4, 1:] = True
        codes = {"organ": ("10200004", "SCT", "Liver")}
        paths.append(
            write_seg(folder / kind / "seg.dcm", series, {"organ": mask, "rest": ~mask}, kind=kind, codes=codes)
        )
    return paths


def rtstruct_seeds(folder: Path) -> Sequence[Path]:
    """A structure set with a hole and a point beside its series."""
    series = write_series(folder / "rt" / "series", (12, 10, 4), patient=PLANTED)
    corners = np.array([[1, 1], [8, 1], [8, 7], [1, 7]])
    contours = [("CLOSED_PLANAR", series.place(corners[:, 0], corners[:, 1], k), k) for k in range(3)]
    hole = [("CLOSED_PLANAR", series.place(corners[:, 0] / 2 + 2, corners[:, 1] / 2 + 2, 1), 1)]
    point = [("POINT", series.place(np.array([2]), np.array([2]), 1), None)]
    return [write_rtstruct(folder / "rt" / "rt.dcm", series, {"a": contours, "b": hole, "c": point})]


def waveform_seeds(folder: Path) -> Sequence[Path]:
    """An ECG of two leads with a note on a sample."""
    ecg = "1.2.840.10008.5.1.4.1.1.9.1.1"
    data = make_slice(np.zeros((1, 1), np.uint8), None, PatientName=PLANTED, SOPClassUID=ecg, Modality="ECG")
    data.file_meta.MediaStorageSOPClassUID = ecg
    for keyword in ("PixelData", "Rows", "Columns", "PixelSpacing", "RescaleSlope", "RescaleIntercept"):
        delattr(data, keyword)
    unit = _item(CodeValue="uV", CodingSchemeDesignator="UCUM", CodeMeaning="microvolt")
    channels = [
        _item(ChannelLabel=name, ChannelSensitivity=1.25, ChannelSensitivityUnitsSequence=[unit], ChannelSampleSkew=0)
        for name in ("I", "II")
    ]
    group = _item(
        MultiplexGroupLabel="RHYTHM",
        NumberOfWaveformChannels=2,
        NumberOfWaveformSamples=20,
        SamplingFrequency=500,
        ChannelDefinitionSequence=channels,
        WaveformBitsAllocated=16,
        WaveformSampleInterpretation="SS",
        WaveformData=np.arange(40, dtype="<i2").tobytes(),
    )
    group["WaveformData"].VR = "OW"
    data.WaveformSequence = [group]
    note = _item(ReferencedSamplePositions=[5], UnformattedTextValue="beat", AnnotationGroupNumber=0)
    data.WaveformAnnotationSequence = [note]
    return [save(data, folder / "ecg" / "a.dcm")]
