"""Patient data in DICOM objects without pixels: a structured report, a presentation state, a letter as PDF.

Each function writes one file and lists what it planted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from osler.studies.phantoms.dicom_files import new_dataset, save
from osler.studies.phantoms.planted import Planter
from osler.studies.phantoms.planted_dicom import identify, item, plant

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

__all__ = ["REPORT_WRITERS", "pdf_bytes"]


def _code(value: str, meaning: str) -> list[Dataset]:
    return [item(CodeValue=value, CodingSchemeDesignator="DCM", CodeMeaning=meaning)]


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
        attributes={
            "Modality": "SR",
            "InstanceNumber": 1,
            "CompletionFlag": "COMPLETE",
            "VerificationFlag": "VERIFIED",
        },
    )
    identify(planter, path, dataset)
    at = "(0040,A730)[{}].({}) {}"
    sentence = (
        f"{who.plain_name} (born {who.dotted(who.birth)}) was seen on {who.dashed(who.examined)} at {who.hospital}."
    )
    dataset.ValueType, dataset.ContinuityOfContent = "CONTAINER", "SEPARATE"
    dataset.ConceptNameCodeSequence = _code("121060", "History")
    dataset.ContentSequence = [
        item(
            RelationshipType="HAS OBS CONTEXT",
            ValueType="PNAME",
            ConceptNameCodeSequence=_code("121029", "Subject Name"),
            PersonName=add(path, at.format(0, "0040,A123", "PersonName"), "name", who.dicom_name),
        ),
        item(
            RelationshipType="CONTAINS",
            ValueType="TEXT",
            ConceptNameCodeSequence=_code("121071", "Finding"),
            TextValue=add(path, at.format(1, "0040,A160", "TextValue"), "text", sentence),
        ),
        item(
            RelationshipType="HAS OBS CONTEXT",
            ValueType="DATE",
            ConceptNameCodeSequence=_code("121031", "Subject Birth Date"),
            Date=add(path, at.format(2, "0040,A121", "Date"), "date", who.birth),
        ),
    ]
    verified = item(
        VerifyingObserverName=add(path, "(0040,A073)[0].(0040,A075) VerifyingObserverName", "person", who.physician),
        VerifyingOrganization=add(
            path, "(0040,A073)[0].(0040,A027) VerifyingOrganization", "institution", who.hospital
        ),
        VerificationDateTime=add(
            path, "(0040,A073)[0].(0040,A030) VerificationDateTime", "date", f"{who.examined}180000"
        ),
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
    plant(planter, path, dataset, "person", ContentCreatorName=who.physician)
    text = item(
        UnformattedTextValue=add(
            path, "(0070,0001)[0].(0070,0008)[0].(0070,0006) UnformattedTextValue", "text", f"{who.plain_name} L"
        ),
        AnchorPoint=[10.0, 10.0],
        AnchorPointAnnotationUnits="PIXEL",
        AnchorPointVisibility="N",
    )
    dataset.GraphicAnnotationSequence = [item(GraphicLayer="ONE", TextObjectSequence=[text])]
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
    count = len(parts) + 1
    head, tail = f"xref\n0 {count}\n0000000000 65535 f \n", f"trailer\n<< /Size {count} /Root 1 0 R /Info 5 0 R >>"
    return data + f"{head}{table}{tail}\nstartxref\n{len(data)}\n%%EOF\n".encode("latin-1")


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
    plant(planter, path, dataset, "text", DocumentTitle=f"Letter about {who.plain_name}")
    title = add(path, "(0042,0011) EncapsulatedDocument, title of the PDF", "name", who.plain_name)
    line = add(
        path,
        "(0042,0011) EncapsulatedDocument, page",
        "text",
        f"Dear colleague, {who.plain_name} came on {who.examined}.",
    )
    data = pdf_bytes(title, [line])
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    dataset.EncapsulatedDocument = data + b"\n" * (len(data) % 2)
    save(dataset, path)


REPORT_WRITERS: tuple[Callable[[Planter], None], ...] = (_write_report, _write_presentation, _write_pdf)
