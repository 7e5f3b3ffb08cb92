"""Patient data in DICOM images: a CT slice, radiographs with drawn text, a photograph of a screen.

Each function writes the files of one kind and lists what it planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms import chest_ct
from osler.studies.phantoms.dicom_files import new_dataset, place, put_pixels, save
from osler.studies.phantoms.planted import Planter

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

__all__ = ["DICOM_WRITERS", "draw_text", "identify", "item", "plant"]

_CREATOR = "ASTER IMAGING PRIVATE 01"


def draw_text(rows: Array, text: str, at: tuple[int, int], *, value: int, size: int = 14) -> tuple[int, int, int, int]:
    """Draw a line of text into grey pixels (rows, columns), in place.

    Returns:
        Its box: x, y, width, height.
    """
    import PIL.Image
    import PIL.ImageDraw
    import PIL.ImageFont

    font = PIL.ImageFont.load_default(size)
    sheet = PIL.Image.new("L", (rows.shape[1], rows.shape[0]))
    PIL.ImageDraw.Draw(sheet).text(at, text, fill=255, font=font)
    drawn = np.asarray(sheet) > 100
    rows[drawn] = value
    y, x = np.nonzero(drawn)
    return int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1


def item(**attributes: Any) -> Dataset:
    """An item of a sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def plant(planter: Planter, path: Path, dataset: Dataset, kind: str, **values: str) -> None:
    """Set attributes of the data set and list them."""
    from pydicom.datadict import keyword_dict

    for keyword, value in values.items():
        tag = keyword_dict[keyword]
        setattr(dataset, keyword, planter.add(path, f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}", kind, value))


def identify(planter: Planter, path: Path, dataset: Dataset) -> None:
    """The tags that every scanner fills in."""
    who = planter.person
    plant(planter, path, dataset, "name", PatientName=who.dicom_name)
    plant(planter, path, dataset, "id", PatientID=who.number, AccessionNumber=who.accession)
    plant(planter, path, dataset, "date", PatientBirthDate=who.birth, StudyDate=who.examined)
    plant(planter, path, dataset, "person", ReferringPhysicianName=who.physician)
    plant(planter, path, dataset, "institution", InstitutionName=who.hospital)


def _ct_slice(planter: Planter) -> tuple[Dataset, Array]:
    from pydicom.uid import CTImageStorage

    phantom = chest_ct.make(planter.seed, size=(48, 48, 16), scanner=0)
    attributes = {
        "Modality": "CT",
        "Manufacturer": phantom.scanner.manufacturer,
        "PhotometricInterpretation": "MONOCHROME2",
        "RescaleIntercept": "-1024",
        "RescaleSlope": "1",
        "InstanceNumber": 9,
    }
    dataset = new_dataset(
        CTImageStorage, key=f"planted/{planter.seed}", series="ct", instance=8, patient_id="0", attributes=attributes
    )
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ phantom.image.affine
    place(dataset, lps, 8, phantom.image.spacing[2])
    put_pixels(dataset, phantom.image.array[0, :, :, 8].astype(np.int32) + 1024)
    return dataset, lps


def _write_ct(planter: Planter) -> None:
    """Tags, private tags, sequences, UIDs, preamble, padding after the last tag, file name."""
    who, path = planter.person, planter.path("ct.dcm", named=True)
    dataset, _ = _ct_slice(planter)
    identify(planter, path, dataset)
    plant(planter, path, dataset, "address", PatientAddress=who.address)
    plant(planter, path, dataset, "phone", PatientTelephoneNumbers=who.phone)
    plant(planter, path, dataset, "person", OperatorsName="Quill^Robin", PatientMotherBirthName="Abernathy")
    plant(planter, path, dataset, "date", AcquisitionDateTime=f"{who.examined}101502", ContentDate=who.examined)
    plant(planter, path, dataset, "text", StudyDescription=f"CT chest {who.family} control")
    note = f"{who.plain_name}, born {who.dotted(who.birth)}, called from {who.phone}"
    plant(planter, path, dataset, "text", PatientComments=note, ImageComments=f"see {who.accession}")
    plant(
        planter,
        path,
        dataset,
        "text",
        AdditionalPatientHistory=f"Patient {who.given} fell on {who.dashed(who.examined)}",
    )
    _plant_uid(planter, path, dataset)
    _plant_sequences(planter, path, dataset)
    _plant_private(planter, path, dataset)
    dataset.add_new(
        0xFFFCFFFC, "OB", planter.add(path, "(FFFC,FFFC) trailing padding", "name", who.dicom_name).encode()
    )
    head = planter.add(path, "preamble", "text", f"{who.number} {who.plain_name}").encode()
    dataset.preamble = head.ljust(128, b"\0")
    save(dataset, path)


def _plant_uid(planter: Planter, path: Path, dataset: Dataset) -> None:
    """Number and date of the examination as parts of UIDs, as some scanners make them."""
    who = planter.person
    for keyword, end in (("StudyInstanceUID", ""), ("SOPInstanceUID", ".9")):
        plant(planter, path, dataset, "uid", **{keyword: f"1.2.999.{who.number}.{who.examined}{end}"})
    planter.add(path, "(0002,0003) MediaStorageSOPInstanceUID", "uid", str(dataset.SOPInstanceUID))  # set by saving


def _plant_sequences(planter: Planter, path: Path, dataset: Dataset) -> None:
    who = planter.person
    add = planter.add
    requested = item(
        RequestedProcedureDescription=add(
            path, "(0040,0275)[0].(0032,1060) RequestedProcedureDescription", "text", f"for Mrs {who.family}"
        ),
        ScheduledProcedureStepID="1",
    )
    dataset.RequestAttributesSequence = [requested]
    dataset.OtherPatientIDsSequence = [
        item(
            PatientID=add(path, "(0010,1002)[0].(0010,0020) PatientID", "id", f"OLD-{who.number}"),
            TypeOfPatientID="TEXT",
        )
    ]
    before = item(
        PatientName=add(path, "(0400,0561)[0].(0400,0550)[0].(0010,0010) PatientName", "name", who.dicom_name)
    )
    original = item(
        ModifiedAttributesSequence=[before],
        ModifyingSystem="RENAMER",
        ReasonForTheAttributeModification="CORRECT",
        AttributeModificationDateTime=add(
            path, "(0400,0561)[0].(0400,0562) AttributeModificationDateTime", "date", f"{who.examined}120000"
        ),
        SourceOfPreviousValues=add(
            path, "(0400,0561)[0].(0400,0564) SourceOfPreviousValues", "institution", who.hospital
        ),
    )
    dataset.OriginalAttributesSequence = [original]


def _plant_private(planter: Planter, path: Path, dataset: Dataset) -> None:
    who, add = planter.person, planter.add
    block = dataset.private_block(0x0009, _CREATOR, create=True)
    block.add_new(0x01, "LO", add(path, "(0009,1001) private LO", "name", who.plain_name))
    block.add_new(0x02, "DA", add(path, "(0009,1002) private DA", "date", who.birth))
    unknown = f"NAME={add(path, '(0009,1003) private UN', 'name', who.plain_name)};".encode()
    block.add_new(0x03, "UN", unknown + b" " * (len(unknown) % 2))
    nested = item(PatientID=add(path, "(0009,1004)[0].(0010,0020) PatientID in a private sequence", "id", who.number))
    block.add_new(0x04, "SQ", [nested])


def _radiograph(planter: Planter, series: str) -> tuple[Dataset, Array]:
    """A data set without pixels, and the pixels (rows, columns)."""
    from pydicom.uid import DigitalXRayImageStorageForPresentation

    attributes = {
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME2",
        "PresentationLUTShape": "IDENTITY",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [f"{planter.film.spacing[0]:.6g}"] * 2,
        "BurnedInAnnotation": "NO",
        "WindowCenter": "2048",
        "WindowWidth": "4096",
        "InstanceNumber": 1,
    }
    dataset = new_dataset(
        DigitalXRayImageStorageForPresentation,
        key=f"planted/{planter.seed}",
        series=series,
        instance=0,
        patient_id="0",
        attributes=attributes,
    )
    return dataset, np.array(planter.film.array[0].T)


def _write_burned(planter: Planter) -> None:
    """Text in the pixels of a radiograph whose tags say that there is none and have been emptied."""
    who, path = planter.person, planter.path("burned-in.dcm")
    dataset, rows = _radiograph(planter, "burned")
    dataset.PatientName, dataset.PatientID = "ANONYMOUS", "ANON"
    for kind, text, at in (
        ("name", who.plain_name, (4, 3)),
        ("id", who.number, (4, 20)),
        ("date", who.dotted(who.examined), (110, 3)),
    ):
        box = draw_text(rows, text, at, value=4095)
        planter.add(path, "pixels", kind, text, box)
    put_pixels(dataset, rows.T)
    save(dataset, path)


def _write_overlays(planter: Planter) -> None:
    """Text in an overlay of its own, and in an unused bit of the pixels, as files of before 2004 have it."""
    who, path = planter.person, planter.path("overlay.dcm")
    dataset, rows = _radiograph(planter, "overlay")
    dataset.PatientName, dataset.PatientID = "ANONYMOUS", "ANON"
    plane, bit = np.zeros(rows.shape, np.uint8), np.zeros(rows.shape, np.uint8)
    planter.add(
        path, "(6000,3000) OverlayData", "name", who.plain_name, draw_text(plane, who.plain_name, (6, 170), value=1)
    )
    place_ = "(6002,0102) bit 12 of PixelData"
    planter.add(path, place_, "id", who.number, draw_text(bit, who.number, (120, 170), value=1))
    put_pixels(dataset, (rows.astype(np.uint16) | (bit.astype(np.uint16) << 12)).T)
    for group, position in ((0x6000, 0), (0x6002, 12)):
        dataset.add_new((group, 0x0010), "US", rows.shape[0])
        dataset.add_new((group, 0x0011), "US", rows.shape[1])
        dataset.add_new((group, 0x0040), "CS", "G")
        dataset.add_new((group, 0x0050), "SS", [1, 1])
        dataset.add_new((group, 0x0100), "US", 16 if position else 1)
        dataset.add_new((group, 0x0102), "US", position)
    packed = np.packbits(plane, axis=None, bitorder="little").tobytes()
    dataset.add_new((0x6000, 0x3000), "OW", packed + b"\0" * (len(packed) % 2))
    label = planter.add(path, "(6000,0022) OverlayDescription", "text", f"marks for {who.family}")
    dataset.add_new((0x6000, 0x0022), "LO", label)
    save(dataset, path)


def _write_screenshot(planter: Planter) -> None:
    """A page of a report photographed from the screen: nothing but text."""
    from pydicom.uid import SecondaryCaptureImageStorage

    who, path = planter.person, planter.path("screenshot.dcm")
    rows = np.zeros((160, 320), np.uint8)
    lines = (
        ("institution", who.hospital),
        ("name", f"Patient: {who.family}, {who.given}"),
        ("date", f"Born {who.dashed(who.birth)}"),
        ("id", f"MRN {who.number}"),
        ("address", who.address),
        ("person", f"Reported by Dr {who.physician.split('^')[0]}"),
    )
    for number, (kind, text) in enumerate(lines):
        planter.add(path, "pixels", kind, text, draw_text(rows, text, (8, 8 + 22 * number), value=255))
    attributes = {
        "Modality": "OT",
        "ConversionType": "WSD",
        "PhotometricInterpretation": "MONOCHROME2",
        "InstanceNumber": 1,
    }
    key = f"planted/{planter.seed}"
    dataset = new_dataset(
        SecondaryCaptureImageStorage, key=key, series="sc", instance=0, patient_id="0", attributes=attributes
    )
    dataset.PatientName = "ANONYMOUS"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows.shape[0], rows.shape[1], 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = rows.tobytes()
    save(dataset, path)


DICOM_WRITERS: tuple[Callable[[Planter], None], ...] = (
    _write_ct,
    _write_burned,
    _write_overlays,
    _write_screenshot,
)
