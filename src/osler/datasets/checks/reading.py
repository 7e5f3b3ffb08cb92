"""What could not be read, and what is wrong with single images by themselves."""

from __future__ import annotations

from osler.datasets.checks.evidence import Evidence, problem_of
from osler.datasets.facts import FaultKind
from osler.datasets.problem import Code, Problem, Severity
from osler.studies.notes import grouped_notes

__all__ = ["check"]

_ERRORS: dict[str, tuple[Code, str, str]] = {
    "GeometryError": (
        "geometry",
        "slices that form no volume, or a place that is not given",
        "export the whole series",
    ),
    "contradiction": (
        "geometry",
        "series that mix orientations, pixel spacings or matrices",
        "repair the headers of the slices that differ, or export the series again",
    ),
    "Unsuitable": ("unsuitable", "files that hold something else than is needed here", "take them out or convert them"),
    "NoneChosen": (
        "unsuitable",
        "files of several images (pages, frames, levels), of which none is named",
        "name the one that is meant in a manifest (stack.tif#index=0), or save each as a file",
    ),
    "": ("unreadable", "cannot be read", "export or copy them again"),
}
_FAULTS: dict[FaultKind, tuple[Code, Severity, str, str]] = {
    "missing channel": (
        "missing-channel",
        "error",
        "an image of the study is missing",
        "add it or leave out the case",
    ),
    "blank": ("blank", "error", "blank, one value everywhere", "leave them out"),
    "not finite": ("not-finite", "error", "NaN or infinite values", "repair or leave them out"),
    "channels": (
        "channels",
        "error",
        "several volumes or channels, neither grey nor RGB",
        "name the volume or channel that is meant in a manifest (scan.nii.gz#index=0), or save them as grey or RGB",
    ),
    "grid": ("grid", "error", "mask or channel on another grid", "export it on the grid of the image"),
    "values": (
        "mask-values",
        "error",
        "values in the mask that are no label",
        "add the labels to the data set or repair the mask",
    ),
    "empty": ("mask-empty", "note", "empty mask", "nothing, if the structure is really absent"),
    "overlap": (
        "mask-overlap",
        "warning",
        "masks of different labels overlap, and the smaller label has those voxels",
        "nothing, if one lies within the other; else correct the masks",
    ),
}
_SAME_GRID = 1e-3
"""Voxels by which headers may differ through rounding."""


def check(evidence: Evidence) -> list[Problem]:
    """Files that cannot be read by what went wrong, images that cannot be used, grids that differ slightly, gaps;
    and what the reader changed or doubts."""
    return [*_unreadable(evidence), *_faults(evidence), *_shifts(evidence), *_gaps(evidence), *_notes(evidence)]


def _unreadable(evidence: Evidence) -> list[Problem]:
    problems = []
    for kind, (code, what, remedy) in _ERRORS.items():
        found = {name: text for name, text in evidence.unreadable.items() if _kind(evidence, name) == kind}
        if found:
            problems.append(problem_of(code, "error", what, found, remedy, details=found, leave_out=found))
    return problems


def _kind(evidence: Evidence, name: str) -> str:
    kind = evidence.kinds.get(name, "")
    if kind == "GeometryError" and " in one series: " in evidence.unreadable[name]:
        return "contradiction"
    kind = "NoneChosen" if kind == "UsageError" else kind  # of a file of many images, none of which was named
    return kind if kind in _ERRORS else ""


def _faults(evidence: Evidence) -> list[Problem]:
    problems = []
    for kind, (code, severity, what, remedy) in _FAULTS.items():
        found: dict[str, str] = {}
        for fact in evidence.facts:
            texts = [fault.text for fault in fact.faults if fault.kind == kind]
            found |= {fact.name: "; ".join(texts)} if texts else {}
        if found:
            details = found if kind != "empty" else {}
            bad = found if severity == "error" else ()
            problems.append(problem_of(code, severity, what, found, remedy, details=details, leave_out=bad))
    return problems


def _shifts(evidence: Evidence) -> list[Problem]:
    """Less than would be refused (``grid``), more than rounding."""
    refused = {f.name for f in evidence.facts if any(fault.kind == "grid" for fault in f.faults)}
    shifts = {n: o.shift for n, o in evidence.seen.items() if _SAME_GRID <= o.shift < float("inf") and n not in refused}
    if not shifts:
        return []
    details = {name: f"{shift:.2g} voxels" for name, shift in shifts.items()}
    what = f"mask or channel up to {max(shifts.values()):.2g} voxels beside the image; it is used as if it were not"
    remedy = "check which header is right, and export both from one program"
    return [problem_of("grid-shift", "warning", what, shifts, remedy, details=details, scores=shifts)]


def _gaps(evidence: Evidence) -> list[Problem]:
    gaps = {name: o.blank_slices for name, o in evidence.seen.items() if o.blank_slices}
    if not gaps:
        return []
    details = {name: f"slices {', '.join(map(str, found[:8]))} of one value" for name, found in gaps.items()}
    what = "blank slices between others: the transfer or the conversion lost them"
    return [problem_of("blank-slices", "error", what, gaps, "export them again", details=details, leave_out=gaps)]


def _notes(evidence: Evidence) -> list[Problem]:
    """What the reader says, of however many cases; what differs from case to case is in the details."""
    problems = []
    for text, found in grouped_notes({fact.name: fact.notes for fact in evidence.facts}).items():
        details = found if len(set(found.values())) > 1 else {}
        problems.append(problem_of("reader-note", "note", text, found, "", details=details))
    return problems
