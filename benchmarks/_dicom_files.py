"""DICOM trees for benchmarks, made from one real header each: written once into the work folder and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom
from pydicom.encaps import encapsulate
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless

from _runs import DATA, WORK

__all__ = ["ct_series", "mr_tree"]

_SLICES_PER_SERIES, _SERIES_PER_STUDY = 50, 4


def mr_tree(files: int) -> Path:
    """Patients of one study of four series of 50 slices each, 64×64, with the header of a real MR (135 elements)."""
    folder = WORK / f"dicom-tree-{files}"
    if len(list(folder.rglob("*.dcm"))) == files:
        return folder
    template = pydicom.dcmread(DATA / "brain-mr-dicom/Study1/12-T1post-05670/000000.dcm")
    template.PixelData = np.ascontiguousarray(template.pixel_array[200:264, 200:264]).tobytes()
    template.Rows, template.Columns = 64, 64
    for number in range(files):
        series, place = divmod(number, _SLICES_PER_SERIES)
        patient = series // _SERIES_PER_STUDY
        template.PatientID, template.StudyInstanceUID = f"patient{patient}", f"1.2.3.{patient}"
        template.SeriesInstanceUID, template.SeriesNumber = f"1.2.3.{patient}.{series}", series
        uid = f"1.2.3.{patient}.{series}.{place}"
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = uid
        template.ImagePositionPatient = [-100, -100, 3.0 * place]
        target = folder / f"P{patient:04}" / f"S{series:04}"
        target.mkdir(parents=True, exist_ok=True)
        template.save_as(target / f"IM{place:04}.dcm")
    return folder


def ct_series(slices: int, codec: str = "") -> Path:
    """One CT series, 512×512 of 16 bits, each slice another rotation of a real one.

    Args:
        slices: how many.
        codec: "" uncompressed, "jpeg2000" or "jpegls".
    """
    import imagecodecs

    folder = WORK / f"dicom-ct-{slices}{codec and '-'}{codec}"
    if len(list(folder.glob("*.dcm"))) == slices:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    template = pydicom.dcmread(DATA / "dicom-encodings/CTImage.dcm")
    pixels = template.pixel_array
    for place in range(slices):
        template.SOPInstanceUID = template.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{place}"
        template.ImagePositionPatient = [-100, -120, 1.25 * place]
        template.InstanceNumber, template.SliceLocation = place + 1, 1.25 * place
        turned = np.roll(pixels, place, axis=0)
        template.PixelData = turned.tobytes()
        if codec:
            stored = turned.view(np.uint16)
            frame = (
                imagecodecs.jpegls_encode(stored)
                if codec == "jpegls"
                else imagecodecs.jpeg2k_encode(turned, codecformat="j2k", reversible=True)
            )
            template.PixelData = encapsulate([frame])
            template["PixelData"].VR = "OB"
            template.file_meta.TransferSyntaxUID = JPEGLSLossless if codec == "jpegls" else JPEG2000Lossless
        template.save_as(folder / f"IM{place:04}.dcm")
    return folder
