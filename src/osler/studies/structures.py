"""``StructureSet``: the regions that a DICOM segmentation or RT structure set holds, and the images they are of."""

from __future__ import annotations

from dataclasses import dataclass, field

__all__ = ["Code", "Structure", "StructureSet"]


@dataclass(frozen=True)
class Code:
    """A coded concept as DICOM writes it: value, coding scheme (``SCT``, ``SRT``, ``FMA``, ``DCM`` ...) and meaning."""

    value: str
    scheme: str
    meaning: str = ""


@dataclass(frozen=True)
class Structure:
    """One segment of a SEG, or one region of interest of an RTSTRUCT.

    Args:
        number: by which the file refers to it (SegmentNumber, ROINumber).
        name: SegmentLabel or ROIName.
        category: the coded category of what it is ("Anatomical structure"), where given.
        kind: the coded property type, what it is ("Liver"), where given.
        modifiers: of ``kind``, laterality for example.
        algorithm: MANUAL, SEMIAUTOMATIC or AUTOMATIC; "" when not said.
        outlines: the geometric types of an RTSTRUCT's contours, each once, () when nothing is drawn; None in a SEG.
    """

    number: int
    name: str
    category: Code | None = None
    kind: Code | None = None
    modifiers: tuple[Code, ...] = ()
    algorithm: str = ""
    outlines: tuple[str, ...] | None = None


@dataclass(frozen=True)
class StructureSet:
    """The header of one file of labels. UIDs are hidden from repr because they identify patients.

    Args:
        format: the name of the format that reads it.
        structures: in the order of their numbers.
        uid: the file's SOPInstanceUID.
        frame_of_reference: FrameOfReferenceUID, "" when not said.
        series: SeriesInstanceUIDs of the images that it refers to.
        instances: SOPInstanceUIDs of these images.
    """

    format: str
    structures: tuple[Structure, ...]
    uid: str = field(default="", repr=False)
    frame_of_reference: str = field(default="", repr=False)
    series: tuple[str, ...] = field(default=(), repr=False)
    instances: frozenset[str] = field(default=frozenset(), repr=False)
