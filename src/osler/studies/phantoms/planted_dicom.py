"""Patient data in DICOM: a CT slice, radiographs with drawn text, a report, a presentation state, a PDF, a photograph
of a screen. Each function writes the files of one kind and lists what it planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from osler.studies.geometry import Array
from osler.studies.phantoms import chest_ct, chest_xray
from osler.studies.phantoms.dicom_files import new_dataset, place, put_pixels, save
from osler.studies.phantoms.planted import Planter

if TYPE_CHECKING:
    from pathlib import Path

    from pydicom.dataset import Dataset

__all__ = ["DICOM_WRITERS", "draw_text", "pdf_bytes"]

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


def _item(**attributes: Any) -> Dataset:
    from pydicom.dataset import Dataset

    item = Dataset()
    for keyword, value in attributes.items():
        setattr(item, keyword, value)
    return item


def _plant(planter: Planter, path: Path, dataset: Dataset, kind: str, **values: str) -> None:
    """Set attributes of the data set and list them."""
    from pydicom.datadict import keyword_dict

    for keyword, value in values.items():
        tag = keyword_dict[keyword]
        setattr(dataset, keyword, planter.add(path, f"({tag >> 16:04X},{tag & 0xFFFF:04X}) {keyword}", kind, value))


def _identified(planter: Planter, path: Path, dataset: Dataset) -> None:
    """The tags that every scanner fills in."""
    who = planter.person
    _plant(planter, path, dataset, "name", PatientName=who.dicom_name)
    _plant(planter, path, dataset, "id", PatientID=who.number, AccessionNumber=who.accession)
    _plant(planter, path, dataset, "date", PatientBirthDate=who.birth, StudyDate=who.examined)
    _plant(planter, path, dataset, "person", ReferringPhysicianName=who.physician)
    _plant(planter, path, dataset, "institution", InstitutionName=who.hospital)


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
    _identified(planter, path, dataset)
    _plant(planter, path, dataset, "address", PatientAddress=who.address)
    _plant(planter, path, dataset, "phone", PatientTelephoneNumbers=who.phone)
    _plant(planter, path, dataset, "person", OperatorsName="Quill^Robin", PatientMotherBirthName="Abernathy")
    _plant(planter, path, dataset, "date", AcquisitionDateTime=f"{who.examined}101502", ContentDate=who.examined)
    _plant(planter, path, dataset, "text", StudyDescription=f"CT chest {who.family} control")
    note = f"{who.plain_name}, born {who.dotted(who.birth)}, called from {who.phone}"
    _plant(planter, path, dataset, "text", PatientComments=note, ImageComments=f"see {who.accession}")
    _plant(planter, path, dataset, "text", AdditionalPatientHistory=f"Patient {who.given} fell on {who.dashed(who.examined)}")
    _plant_uid(planter, path, dataset)
    _plant_sequences(planter, path, dataset)
    _plant_private(planter, path, dataset)
    dataset.add_new(0xFFFCFFFC, "OB", planter.add(path, "(FFFC,FFFC) trailing padding", "name", who.dicom_name).encode())
    head = planter.add(path, "preamble", "text", f"{who.number} {who.plain_name}").encode()
    dataset.preamble = head.ljust(128, b"\0")
    save(dataset, path)


def _plant_uid(planter: Planter, path: Path, dataset: Dataset) -> None:
    """Number and date of the examination as parts of UIDs, as some scanners make them."""
    who = planter.person
    for keyword, end in (("StudyInstanceUID", ""), ("SOPInstanceUID", ".9")):
        _plant(planter, path, dataset, "uid", **{keyword: f"1.2.999.{who.number}.{who.examined}{end}"})


def _plant_sequences(planter: Planter, path: Path, dataset: Dataset) -> None:
    who = planter.person
    add = planter.add
    requested = _item(
        RequestedProcedureDescription=add(
            path, "(0040,0275)[0].(0032,1060) RequestedProcedureDescription", "text", f"for Mrs {who.family}"
        ),
        ScheduledProcedureStepID="1",
    )
    dataset.RequestAttributesSequence = [requested]
    dataset.OtherPatientIDsSequence = [
        _item(PatientID=add(path, "(0010,1002)[0].(0010,0020) PatientID", "id", f"OLD-{who.number}"), TypeOfPatientID="TEXT")
    ]
    before = _item(PatientName=add(path, "(0400,0561)[0].(0400,0550)[0].(0010,0010) PatientName", "name", who.dicom_name))
    original = _item(
        ModifiedAttributesSequence=[before],
        ModifyingSystem="RENAMER",
        ReasonForTheAttributeModification="CORRECT",
        AttributeModificationDateTime=add(
            path, "(0400,0561)[0].(0400,0562) AttributeModificationDateTime", "date", f"{who.examined}120000"
        ),
        SourceOfPreviousValues=add(path, "(0400,0561)[0].(0400,0564) SourceOfPreviousValues", "institution", who.hospital),
    )
    dataset.OriginalAttributesSequence = [original]


def _plant_private(planter: Planter, path: Path, dataset: Dataset) -> None:
    who, add = planter.person, planter.add
    block = dataset.private_block(0x0009, _CREATOR, create=True)
    block.add_new(0x01, "LO", add(path, "(0009,1001) private LO", "name", who.plain_name))
    block.add_new(0x02, "DA", add(path, "(0009,1002) private DA", "date", who.birth))
    unknown = f"NAME={add(path, '(0009,1003) private UN', 'name', who.plain_name)};".encode()
    block.add_new(0x03, "UN", unknown + b" " * (len(unknown) % 2))
    nested = _item(PatientID=add(path, "(0009,1004)[0].(0010,0020) PatientID in a private sequence", "id", who.number))
    block.add_new(0x04, "SQ", [nested])


def _radiograph(planter: Planter, series: str) -> tuple[Dataset, Array]:
    """A data set without pixels, and the pixels (rows, columns)."""
    from pydicom.uid import DigitalXRayImageStorageForPresentation

    phantom = chest_xray.make(planter.seed, size=192, machine=0)
    attributes = {
        "Modality": "DX",
        "PhotometricInterpretation": "MONOCHROME2",
        "PresentationLUTShape": "IDENTITY",
        "PatientOrientation": ["L", "F"],
        "ImagerPixelSpacing": [f"{phantom.image.spacing[0]:.6g}"] * 2,
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
    return dataset, np.array(phantom.image.array[0].T)


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
    planter.add(path, "(6000,3000) OverlayData", "name", who.plain_name, draw_text(plane, who.plain_name, (6, 170), value=1))
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
    attributes = {"Modality": "OT", "ConversionType": "WSD", "PhotometricInterpretation": "MONOCHROME2", "InstanceNumber": 1}
    key = f"planted/{planter.seed}"
    dataset = new_dataset(
        SecondaryCaptureImageStorage, key=key, series="sc", instance=0, patient_id="0", attributes=attributes
    )
    dataset.PatientName = "ANONYMOUS"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows.shape[0], rows.shape[1], 1
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.PixelData = rows.tobytes()
    save(dataset, path)


def _code(value: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)]


def _write_report(planter: Planter) -> None:
    """A structured report: coded entries and sentences."""
    from pydicom.uid import BasicTextSRStorage

    who, path, add = planter.person, planter.path("report.dcm"), planter.add
    dataset = new_dataset(
        BasicTextSRStorage,
        key=f"planted/{planter.seed}",
        series="sr",
        instance=0,
        patient_id="0",
        attributes={"Modality": "SR", "InstanceNumber": 1, "CompletionFlag": "COMPLETE", "VerificationFlag": "VERIFIED"},
    )
    _identified(planter, path, dataset)
    at = "(0040,A730)[{}].({}) {}"
    sentence = f"{who.plain_name} (born {who.dotted(who.birth)}) was seen on {who.dashed(who.examined)} at {who.hospital}."
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = _code("121060", "History")
    dataset.ContentSequence = [
        _item(
            RelationshipType="HAS OBS CONTEXT",
            ValueType="PNAME",
            ConceptNameCodeSequence=_code("121029", "Subject Name"),
            PersonName=add(path, at.format(0, "0040,A123", "PersonName"), "name", who.dicom_name),
        ),
        _item(
            RelationshipType="CONTAINS",
            ValueType="TEXT",
            ConceptNameCodeSequence=_code("121071", "Finding"),
            TextValue=add(path, at.format(1, "0040,A160", "TextValue"), "text", sentence),
        ),
        _item(
            RelationshipType="HAS OBS CONTEXT",
            ValueType="DATE",
            ConceptNameCodeSequence=_code("121031", "Subject Birth Date"),
            Date=add(path, at.format(2, "0040,A121", "Date"), "date", who.birth),
        ),
    ]
    verified = _item(
        VerifyingObserverName=add(path, "(0040,A073)[0].(0040,A075) VerifyingObserverName", "person", who.physician),
        VerifyingOrganization=add(path, "(0040,A073)[0].(0040,A027) VerifyingOrganization", "institution", who.hospital),
        VerificationDateTime=add(path, "(0040,A073)[0].(0040,A030) VerificationDateTime", "date", f"{who.examined}180000"),
    )
    dataset.VerifyingObserverSequence = [verified]
    save(dataset, path)


def _write_presentation(planter: Planter) -> None:
    """A presentation state whose annotation names the patient."""
    from pydicom.uid import GrayscaleSoftcopyPresentationStateStorage

    who, path, add = planter.person, planter.path("presentation.dcm"), planter.add
    dataset = new_dataset(
        GrayscaleSoftcopyPresentationStateStorage,
        key=f"planted/{planter.seed}",
        series="pr",
        instance=0,
        patient_id="0",
        attributes={"Modality": "PR", "InstanceNumber": 1, "ContentLabel": "MARKS", "PresentationLUTShape": "IDENTITY"},
    )
    dataset.PatientName = "ANONYMOUS"
    _plant(planter, path, dataset, "person", ContentCreatorName=who.physician)
    text = _item(
        UnformattedTextValue=add(
            path, "(0070,0001)[0].(0070,0008)[0].(0070,0006) UnformattedTextValue", "text", f"{who.plain_name} L"
        ),
        AnchorPoint=[10.0, 10.0],
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPointVisibility="N",
    )
    dataset.GraphicAnnotationSequence = [_item(GraphicLayer="ONE", TextObjectSequence=[text])]
    save(dataset, path)


def pdf_bytes(title: str, lines: list[str]) -> bytes:
    """A page of text with a title in its metadata, as PDF 1.4."""
    shown = " ".join(f"({line}) Tj T*" for line in lines)
    stream = f"BT /F1 12 Tf 14 TL 60 760 Td {shown} ET"
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Contents 4 0 R"
        " /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
        f"<< /Length {len(stream.encode('latin-1'))} >>\nstream\n{stream}\nendstream",
        f"<< /Title ({title}) >>",
    ]
    data, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(data))
        data += f"{number} 0 obj\n{part}\nendobj\n".encode("latin-1")
    table = "".join(f"{at:010d} 00000 n \n" for at in places)
    end = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{table}trailer\n<< /Size {len(parts) + 1} /Root 1 0 R /Info 5 0 R >>"
    return data + f"{end}\nstartxref\n{len(data)}\n%%EOF\n".encode("latin-1")


def _write_pdf(planter: Planter) -> None:
    """A letter as an encapsulated PDF."""
    from pydicom.uid import EncapsulatedPDFStorage

    who, path, add = planter.person, planter.path("letter.dcm"), planter.add
    dataset = new_dataset(
        EncapsulatedPDFStorage,
        key=f"planted/{planter.seed}",
        series="pdf",
        instance=0,
        patient_id="0",
        attributes={"Modality": "DOC", "InstanceNumber": 1, "ConversionType": "SD", "BurnedInAnnotation": "YES"},
    )
    dataset.PatientName = "ANONYMOUS"
    _plant(planter, path, dataset, "text", DocumentTitle=f"Letter about {who.plain_name}")
    title = add(path, "(0042,0011) EncapsulatedDocument, title of the PDF", "name", who.plain_name)
    line = add(path, "(0042,0011) EncapsulatedDocument, page", "text", f"Dear colleague, {who.plain_name} came on {who.examined}.")
    data = pdf_bytes(title, [line])
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = data + b"\n" * (len(data) % 2)
    save(dataset, path)


DICOM_WRITERS: tuple[Callable[[Planter], None], ...] = (
    _write_ct,
    _write_burned,
    _write_overlays,
    _write_screenshot,
    _write_report,
    _write_presentation,
    _write_pdf,
)
