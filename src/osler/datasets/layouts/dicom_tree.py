"""A tree of DICOM files in which segmentations (SEG) or structure sets (RTSTRUCT) label image series.

Files may lie in any folders: what belongs together is told by UIDs. A file of labels is of the image that holds the
instances that it refers to, else of the series that it names, else of the only image in its frame of reference.
Several files may label one image; each of their structures becomes a layer of its mask. A file that fits several images
is left out with these images, of which one would lack its labels.

Labels are the structures' names, the same over the whole tree: case and blanks do not count; modifiers (a side) and,
where one name stands for several coded concepts, the concept are part of the name. ``labels.json`` in the folder picks
and numbers them (``{"1": "liver", "2": "tumour"}``), by name or by coded concept.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.labels import LabelSet
from osler.datasets.layouts.answers import check_task
from osler.datasets.layouts.dicom_names import Named, label_set, name_structures
from osler.datasets.layouts.files import natural, reference, short_names
from osler.datasets.layouts.label_file import read_value_names
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Layer, Manifest, Record
from osler.datasets.mask_sources import OVERLAP_NOTE
from osler.datasets.parallel import in_threads
from osler.datasets.plan import TaskName
from osler.datasets.structures import structures_in
from osler.errors import DatasetError, NoLabels, StudyError
from osler.studies.formats import LABEL_FORMATS, label_format
from osler.studies.formats.base import peek
from osler.studies.formats.dicom_index import DicomImage, DicomIndex, DicomSeries, index_folder
from osler.studies.structures import StructureSet

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "dicom-tree"
NEEDS: tuple[Need, ...] = (
    Need("DICOM files", lambda seen: seen.dicom),
    Need("a DICOM SEG or RTSTRUCT of them", lambda seen: False),  # one that is there has been recognised
)
_SUFFIXES = (".dcm", ".dicom", ".ima", "")
_HEAD = 1024
"""Bytes in which a file's meta information names its class."""
_CLASSES = tuple(uid.encode() for one in LABEL_FORMATS for uid in one.SOP_CLASSES)


@dataclass(frozen=True, eq=False)
class _Labels:
    """One file of labels, and the image that it is of."""

    path: Path
    found: StructureSet
    image: DicomImage


def sniff(path: Path) -> str | None:
    """A folder with a SEG or RTSTRUCT anywhere below."""
    if not path.is_dir():
        return None
    for parent, folders, names in os.walk(path):
        folders[:] = sorted((f for f in folders if not f.startswith((".", "__MACOSX"))), key=natural)
        for name in sorted(names):
            file = Path(parent) / name
            suffix = file.suffix.lower()
            if (suffix in _SUFFIXES or suffix[1:].isdigit()) and _is_labels(file):
                return f"DICOM with segmentations or structure sets ({file.relative_to(path).as_posix()})"
    return None


def _is_labels(file: Path) -> bool:
    head = peek(file, _HEAD)
    return head[128:132] == b"DICM" and any(uid in head for uid in _CLASSES)


def read(path: Path, task: TaskName | None) -> Manifest:
    """Every image series that is labelled; those without labels are counted in the notes.

    Raises:
        DatasetError: when a file of labels is damaged.
        NoLabels: when no image is labelled, it cannot be told which image a file of labels is of, or ``labels.json``
            names something that is not there.
        UsageError: when masks cannot answer ``task``.
    """
    check_task(task, ("segment",), "DICOM segmentations and structure sets")
    index = index_folder(path)
    notes: list[str] = []
    files = _matched(index, path, notes)
    named = name_structures([(one.path, one.found) for one in files], notes)
    labels = label_set(named, read_value_names(path / NAME))
    layers = _layers(files, named, labels, path)
    if not layers:
        raise NoLabels("no image in the tree is labelled", remedy="check labels.json, and that no file is missing")
    series = {image.key: one for one in index.series for image in one.images}
    images = [image for image in index.images if image.key in layers]
    images.sort(key=lambda image: natural(str(image.files[0])))
    notes += _left_out(index, images, layers)
    notes += [OVERLAP_NOTE] if len(labels.labels) > 1 else []
    patients = [_patient(image, series[image.key]) for image in images]
    known = any(patients)
    names = short_names([image.key.replace(":", "-") for image in images])
    records = tuple(
        Record(
            name=f"series-{name}",
            images={"image": _image_reference(image, series[image.key], index, path)},
            mask=ImageRef(path=layers[image.key][0].path, layers=tuple(layers[image.key])),
            patient=patient,
        )
        for name, image, patient in zip(names, images, patients, strict=True)
    )
    modalities = {series[image.key].modality for image in images}
    return Manifest(
        name=path.name,
        root=path,
        layout=NAME,
        labels=labels,
        records=records,
        modality=modalities.pop() if len(modalities) == 1 else "",
        patients="given" if known else "unknown",
        notes=tuple(notes),
    )


def _matched(index: DicomIndex, root: Path, notes: list[str]) -> list[_Labels]:
    """Every file of labels with its image; what is left out is added to the notes."""
    paths = [file for file in index.others if label_format(file) is not None]
    matched: list[_Labels] = []
    seen: set[str] = set()
    copies, lost = 0, []
    doubtful: dict[Path, list[DicomImage]] = {}
    for path, found in zip(paths, in_threads(_structures_in, paths), strict=True):
        if found.uid and found.uid in seen:
            copies += 1
            continue
        seen.add(found.uid)
        images = _images_of(found, index)
        if len(images) > 1:
            doubtful[path] = images
        elif images:
            matched.append(_Labels(path, found, images[0]))
        else:
            lost.append(path.relative_to(root).as_posix())
    kept = _without_doubt(matched, doubtful, root, notes)
    if lost and not kept:
        raise NoLabels(
            f"none of the {len(lost)} segmentations and structure sets is of an image in the tree ({lost[0]} ...)",
            remedy="copy the image series that they were drawn on into the tree",
        )
    if lost:
        notes.append(f"{len(lost)} files of labels are left out: their images are not in the tree ({lost[0]} ...)")
    if copies:
        notes.append(f"{copies} files of labels are copies of others and count once")
    if index.unreadable:
        file, reason = next(iter(index.unreadable.items()))
        first = f"{file.relative_to(root)}: {reason.problem}"
        notes.append(f"{len(index.unreadable)} DICOM files cannot be read and are left out ({first})")
    return kept


def _without_doubt(
    matched: Sequence[_Labels], doubtful: Mapping[Path, Sequence[DicomImage]], root: Path, notes: list[str]
) -> list[_Labels]:
    """The labels of images that no file which fits several of them may be of.

    Raises:
        NoLabels: when nothing else is there.
    """
    if not doubtful:
        return list(matched)
    keys = {image.key for images in doubtful.values() for image in images}
    kept = [one for one in matched if one.image.key not in keys]
    path, images = next(iter(doubtful.items()))
    remedy = (
        "keep the one that it was drawn on, or write a manifest.csv with the columns image and mask_<label> "
        "(file.dcm#structure=1)"
    )
    if not kept:
        raise NoLabels(f"{path.relative_to(root)} refers to {len(images)} images of the tree", remedy=remedy)
    notes.append(
        f"{len(doubtful)} files of labels fit several images each and are left out with these images "
        f"({path.relative_to(root).as_posix()} fits {len(images)}): {remedy}"
    )
    return kept


def _structures_in(path: Path) -> StructureSet:
    try:
        return structures_in(path)
    except StudyError as error:
        raise DatasetError(error.problem, remedy=f"{error.remedy}, or move it out of the folder") from error


def _images_of(found: StructureSet, index: DicomIndex) -> list[DicomImage]:
    """The images that a file of labels is of: by instances, else by series, else by the frame of reference."""
    named = Counter(
        image.key
        for image in index.images
        for header in image.headers.values()
        if header.get("SOPInstanceUID", "") in found.instances
    )
    by_key = {image.key: image for image in index.images}
    images = [by_key[key] for key in named]
    if not images:
        images = [image for image in index.images if _first(image, "SeriesInstanceUID") in found.series]
    if not images and found.frame_of_reference:
        images = [image for image in index.images if _first(image, "FrameOfReferenceUID") == found.frame_of_reference]
    volumes = [image for image in images if not image.localizer]
    return volumes or images


def _first(image: DicomImage, keyword: str) -> str:
    return str(next(iter(image.headers.values())).get(keyword, ""))


def _layers(
    files: Sequence[_Labels], named: Mapping[tuple[Path, int], Named], labels: LabelSet, root: Path
) -> dict[str, list[Layer]]:
    """By the key of an image, the structures that have a label."""
    values = {label.name: label.value for label in labels.labels}
    layers: dict[str, list[Layer]] = defaultdict(list)
    for file in files:
        for structure in file.found.structures:
            one = named.get((file.path, structure.number))
            value = None if one is None else next((values[name] for name in one.names if name in values), None)
            if value is not None:
                layer = Layer(path=reference(file.path, root).path, value=value, structure=structure.number)
                layers[file.image.key].append(layer)
    return dict(layers)


def _left_out(index: DicomIndex, images: Sequence[DicomImage], layers: Mapping[str, Sequence[Layer]]) -> list[str]:
    notes = []
    others = sum(not image.localizer and image.key not in layers for image in index.images)
    if others:
        notes.append(f"{others} images of the tree have none of the labels and are left out")
    drawn = Counter(value for key in layers for value in {layer.value for layer in layers[key]})
    partly = sum(count < len(images) for count in drawn.values())
    if partly:
        notes.append(
            f"{partly} labels are not drawn on every one of the {len(images)} images: where one is missing, its voxels "
            "count as background"
        )
    return notes


def _patient(image: DicomImage, series: DicomSeries) -> str | None:
    known = _first(image, "PatientID") or _first(image, "PatientName")
    return f"patient-{series.patient}" if known else None


def _image_reference(image: DicomImage, series: DicomSeries, index: DicomIndex, root: Path) -> ImageRef:
    """How the image is read: a file, a folder, or a folder and the image's key."""
    if len(image.files) == 1 and sum(image.files[0] in one.files for one in index.images) == 1:
        return reference(image.files[0], root)
    folder = Path(os.path.commonpath([file.parent for file in series.files]))
    alone = _only_image(image, folder, index)
    return reference(folder, root).model_copy(update={"key": None if alone else image.key})


def _only_image(image: DicomImage, folder: Path, index: DicomIndex) -> bool:
    """Whether reading the folder can only mean this image."""
    holders: Iterable[DicomImage] = (one for one in index.images if any(file.parent == folder for file in one.files))
    return all(file.parent == folder for file in image.files) and all(one is image for one in holders)
