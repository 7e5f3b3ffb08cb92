"""A study's picture with what was found in it: the same for predictions and for the worst cases of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

from osler.datasets.labels import LabelSet
from osler.findings.finding import Finding, Findings
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.pictures import overlay, to_png_bytes
from osler.studies.plane_pictures import overlay_of_planes
from osler.studies.volume import ImageLike

__all__ = ["lines_of", "picture_of", "picture_of_planes"]

_MOST_LINES = 5


def picture_of(
    image: Image,
    findings: Findings,
    labels: LabelSet,
    *,
    mask: Array | None = None,
    truth: Array | None = None,
    more: Sequence[str] = (),
) -> bytes:
    """The bytes of a PNG.

    Args:
        image: the source image.
        findings: of the study.
        labels: of the model; their order gives the colours.
        mask: (I, J[, K]) on the image's grid, the data set's values.
        truth: reference mask, as ``mask``.
        more: further lines under the answer, e.g. the true class.
    """
    names = _names(labels) if labels.kind == "mask" else None
    picture = overlay(
        image, mask, names, caption=findings.study, lines=[*lines_of(findings, labels), *more], truth=truth
    )
    return to_png_bytes(picture)


def picture_of_planes(
    image: ImageLike, findings: Findings, labels: LabelSet, *, mask: ImageLike, counts: Sequence[Array]
) -> bytes:
    """The same of a volume and a mask that need not be in memory.

    Args:
        image: the source image, 3D.
        findings: of the study.
        labels: of the model.
        mask: on the image's grid, the data set's values.
        counts: voxels of any label at each index of I, J and K.

    Raises:
        StudyError: when image or mask turn out to be damaged.
    """
    lines = lines_of(findings, labels)
    return to_png_bytes(overlay_of_planes(image, mask, _names(labels), counts, caption=findings.study, lines=lines))


def _names(labels: LabelSet) -> dict[int, str]:
    return {label.value: label.name for label in labels.labels}


def lines_of(findings: Findings, labels: LabelSet) -> list[str]:
    """What was answered, a line per label: the most probable ones, the sizes of masks, or the number."""
    if labels.kind == "mask":
        lines = [_size(finding) for finding in findings.findings]
    elif labels.kind == "number":
        lines = [_number(finding) for finding in findings.findings]
    else:
        most_probable_first = sorted(findings.findings, key=lambda finding: -(finding.probability or 0.0))
        lines = [_probability(finding) for finding in most_probable_first]
    hidden = len(lines) - _MOST_LINES
    return lines if hidden <= 1 else [*lines[:_MOST_LINES], f"and {hidden} more"]


def _probability(finding: Finding) -> str:
    word = "probability" if finding.calibrated else "uncalibrated probability"
    return f"{finding.concept.name}: {word} {_rounded(finding.probability or 0.0)}"


def _rounded(probability: float) -> str:
    """Never 0 or 1, which no model may claim."""
    if probability < 0.0005:
        return "< 0.001"
    return "> 0.999" if probability > 0.9995 else f"{probability:.3f}"


def _size(finding: Finding) -> str:
    size = finding.measurements[0]
    if finding.region is None:
        return f"{finding.concept.name}: not found"
    return f"{finding.concept.name}: {size.value:,.0f} {size.unit.strip('{}')}"


def _number(finding: Finding) -> str:
    measured = finding.measurements[0]
    unit = "" if measured.unit == "1" else f" {measured.unit}"
    text = f"{measured.name}: {measured.value:.4g}{unit}"
    if measured.interval is None:
        return text
    return f"{text} (95 % interval {measured.interval[0]:.4g} to {measured.interval[1]:.4g})"
