"""What tells two slices at one place apart: time, echo, b-value and the like, from headers and functional groups."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from osler.studies.formats._dicom_header import Header

__all__ = ["Facts", "first_item", "frame_facts", "header_facts"]

Facts = Mapping[str, Any]

_TOP = {
    "inversion": "InversionTime",
    "flip": "FlipAngle",
    "time": "TemporalPositionIdentifier",
    "frame_time": "FrameReferenceTime",
    "acquisition": "AcquisitionNumber",
    "stack": "StackID",
    "kernel": "ConvolutionKernel",
    "kvp": "KVP",
    "trigger": "TriggerTime",
}
_IN_GROUPS: dict[str, tuple[str, ...]] = {
    "b": ("MRDiffusionSequence", "DiffusionBValue"),
    "gradient": ("MRDiffusionSequence", "DiffusionGradientDirectionSequence", "DiffusionGradientOrientation"),
    "echo": ("MREchoSequence", "EffectiveEchoTime"),
    "inversion": ("MRModifierSequence", "InversionTimes"),
    "flip": ("MRTimingAndRelatedParametersSequence", "FlipAngle"),
    "time": ("FrameContentSequence", "TemporalPositionIndex"),
    "acquisition": ("FrameContentSequence", "FrameAcquisitionNumber"),
    "stack": ("FrameContentSequence", "StackID"),
    "kernel": ("CTReconstructionSequence", "ConvolutionKernel"),
    "kvp": ("CTXRayDetailsSequence", "KVP"),
    "trigger": ("CardiacSynchronizationSequence", "NominalCardiacTriggerDelayTime"),
    "when": ("FrameContentSequence", "FrameAcquisitionDateTime"),
}
_FRAME_TYPES = ("MRImageFrameTypeSequence", "CTImageFrameTypeSequence", "PETFrameTypeSequence")
_SIEMENS, _PHILIPS, _GE = "SIEMENS MR HEADER", "Philips Imaging DD 001", "GEMS_PARM_01"
_GE_OFFSET = 1e9  # GE adds this to the b-values of some sequences


def header_facts(header: Header) -> Facts:
    """Facts of a file with one frame; those that it does not state are missing."""
    facts: dict[str, Any] = {name: header.get(keyword) for name, keyword in _TOP.items()}
    facts["echo"] = header.get("EchoTime", header.get("EchoNumbers"))
    facts["b"] = _b_value(header)
    gradient = header.get("DiffusionGradientOrientation")
    if gradient is None and header.get("_creator0019") == _SIEMENS:
        gradient = header.get("_siemens_gradient")
    facts["gradient"] = gradient
    facts["type"] = _kind_of(header.get("ImageType"))
    facts["acquired"] = _moment(header, "Acquisition")
    facts["when"] = facts["acquired"] or _moment(header, "Content")
    return {name: value for name, value in facts.items() if value is not None}


def frame_facts(groups: Sequence[Any]) -> Facts:
    """Facts of a frame of a multi-frame file.

    Args:
        groups: the frame's own functional groups, then those shared by all frames; pydicom data sets or None.
    """
    facts = {}
    for name, way in _IN_GROUPS.items():
        value = _follow(groups, way)
        if value is not None:
            facts[name] = str(value) if name in ("when", "stack") else _plain(value)
    for sequence in _FRAME_TYPES:
        value = _follow(groups, (sequence, "FrameType"))
        if value is not None:
            component = _follow(groups, (sequence, "ComplexImageComponent"))
            facts["type"] = (*(_kind_of(_plain(value)) or ()), *([str(component)] if component else []))
    return facts


def first_item(data: Any, sequence: str) -> Any:
    """The first item of a sequence, or None."""
    items = data.get(sequence)
    return items[0] if items else None


def _follow(groups: Sequence[Any], way: tuple[str, ...]) -> Any:
    for group in groups:
        item = group
        for sequence in way[:-1]:
            item = None if item is None else first_item(item, sequence)
        value = None if item is None else item.get(way[-1])
        if value is not None and value != "":
            return value
    return None


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        return value
    if hasattr(value, "__len__"):
        return tuple(one if isinstance(one, str) else float(one) for one in value)
    return float(value)


def _b_value(header: Header) -> float | None:
    private: tuple[tuple[str, str, str, Callable[[Any], float]], ...] = (
        ("_creator0019", _SIEMENS, "_siemens_b", float),
        ("_creator2001", _PHILIPS, "_philips_b", float),
        ("_creator0043", _GE, "_ge_b", lambda values: float(values[0]) % _GE_OFFSET),
    )
    stated = header.get("DiffusionBValue")
    if stated is not None:
        return float(stated)
    for creator, name, keyword, convert in private:
        if header.get(creator) == name and header.get(keyword) is not None:
            return convert(header.get(keyword))
    return None


def _kind_of(image_type: Any) -> tuple[str, ...] | None:
    """The values of ImageType after ORIGINAL or DERIVED and PRIMARY or SECONDARY."""
    if not image_type:
        return None
    return tuple(image_type)[2:] if not isinstance(image_type, str) else None


def _moment(header: Header, kind: str) -> str | None:
    """Date and time as one string that sorts by time."""
    stated = header.get(f"{kind}DateTime")
    if stated:
        return str(stated)
    day, clock = header.get(f"{kind}Date"), header.get(f"{kind}Time")
    return f"{day or ''}{clock}" if clock else None
