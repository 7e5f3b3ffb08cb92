"""A folder per class; above them, where the data set has them, folders for given splits.

DATA/benign/1.png, DATA/malignant/2.nrrd ...          images of any format
DATA/benign/patient7/*.dcm                            a folder with one DICOM series is one image
DATA/train/benign/1.png, DATA/test/benign/9.png ...   given splits

Where images are DICOM and name their patients, these are the patients. Folders that each hold another patient, or
another examination, are a PACS's export and no classes: nothing could be learnt from one patient per class.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from osler.datasets.labels import Kind
from osler.datasets.layouts.answers import check_task, named_labels
from osler.datasets.layouts.files import (
    Case,
    Item,
    by_channels,
    find_images,
    has_images,
    is_series_folder,
    patients_of,
    pseudonymous,
    reference,
    short_names,
    split_folders,
    subfolders,
    visible,
)
from osler.datasets.layouts.image_mask_folders import is_image_or_mask_folder
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import Manifest, Record, Split
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, TooFew
from osler.studies.files import kind_of_file, walk
from osler.studies.formats.dicom_index import DicomIndex, index_files, index_folder

__all__ = ["NAME", "NEEDS", "holds_patients", "read", "sniff"]

NAME: str = "class-folders"
_FEWEST_PATIENTS = 3
_OF_DATA_SETS = ("dataset.json", "manifest.csv", "manifest.parquet", "participants.tsv")
NEEDS: tuple[Need, ...] = (
    Need("images", lambda seen: seen.images > 0),
    Need("a folder per class around them, at least two, and no images beside these", lambda seen: False),
)


def sniff(path: Path) -> str | None:
    """A folder with folders of images and no images of its own."""
    if not path.is_dir() or _loose_images(path):
        return None
    splits = split_folders(path)
    folders = list(splits) if splits else [path]
    classes = [c for folder in folders for c in subfolders(folder)]
    if any(is_image_or_mask_folder(c) or _is_data_set(c) for c in classes) or any(_loose_images(f) for f in folders):
        return None
    with_images = {c.name for c in classes if has_images(c) and not is_series_folder(c)}
    if not with_images or (len(with_images) == 1 and len({c.name for c in classes}) > 1):
        return None
    if holds_patients(path):
        return None
    return f"{len(with_images)} folders with images, one per class ({', '.join(sorted(with_images)[:4])})"


def holds_patients(path: Path) -> bool:
    """Whether the folders that could be classes are DICOM of one patient each, or one examination each, all different.

    Quick where they are not: a class is told by its first and last headers.
    """
    folders: dict[str, list[Path]] = defaultdict(list)
    for parent in split_folders(path) or (path,):
        for folder in filter(has_images, subfolders(parent)):
            folders[folder.name].append(folder)
    ends = [file for several in folders.values() for folder in several for file in _ends(folder)]
    if len(folders) < 2 or not _one_each(index_files(ends), folders):
        return False
    return _one_each(index_folder(path), folders)


def _ends(folder: Path) -> Sequence[Path]:
    """The first and the last file of a folder and below, where the first is DICOM."""
    first = next((several[0] for _, several in walk(folder) if several), None)
    if first is None or kind_of_file(first) != "dicom":
        return ()
    return first, [file for _, several in walk(folder) for file in several][-1]


def _one_each(index: DicomIndex, folders: Mapping[str, Sequence[Path]]) -> bool:
    """Whether each class holds one patient and no two the same one; or the same of examinations.

    Two folders may be a small test set of two classes, unless they are called by the PatientIDs.
    """
    patients: dict[str, set[str]] = {name: set() for name in folders}
    studies: dict[str, set[str]] = {name: set() for name in folders}
    of_folder = {folder: name for name, several in folders.items() for folder in several}
    for image in index.images:
        for file, header in image.headers.items():
            name = next((of_folder[above] for above in file.parents if above in of_folder), None)
            if name is not None:
                patients[name].add(str(header.get("PatientID") or header.get("PatientName") or ""))
                studies[name].add(str(header.get("StudyInstanceUID", "")))
    if len(folders) < _FEWEST_PATIENTS:
        return all(found == {name} for name, found in patients.items())
    return _all_differ(patients) or _all_differ(studies)


def _all_differ(found: Mapping[str, set[str]]) -> bool:
    whole = set().union(*found.values())
    return "" not in whole and len(whole) == len(found) and all(len(one) == 1 for one in found.values())


def _is_data_set(folder: Path) -> bool:
    """A folder that is laid out by itself, so that what holds it holds data sets and not classes."""
    return (
        any((folder / name).is_file() for name in _OF_DATA_SETS)
        or sum(is_image_or_mask_folder(f) for f in subfolders(folder)) > 1
    )


def _loose_images(folder: Path) -> bool:
    return any(kind_of_file(p) in ("image", "dicom") for p in visible(folder))


def read(path: Path, task: TaskName | None) -> Manifest:
    """Every image of every class folder; the folder's name is the class, or the grade with task "ordinal".

    Raises:
        TooFew: when there is only one class.
        DatasetError: when a class folder holds no image.
    """
    task = check_task(task, ("classify", "ordinal"), "folders of classes")
    kind: Kind = "grades" if task == "ordinal" else "classes"
    splits: Mapping[Path, Split | None] = split_folders(path) or {path: None}
    found = [(c, split) for folder, split in splits.items() for c in subfolders(folder)]
    if len({c.name for c, _ in found}) == 1:
        raise TooFew(
            f"all images lie in one folder, {found[0][0].name!r}, and one class is nothing to tell apart",
            remedy="give each class a folder of its own, put masks into 'masks' beside 'images', or add a manifest.csv",
        )
    labels = named_labels((c.name for c, _ in found), kind)
    listed = [(item, c.name, split) for c, split in found for item in _images_of(c, path)]
    cases = by_channels([item for item, _, _ in listed])
    about = {item: (c, split) for item, c, split in listed}
    names = _names(cases)
    for place, case in enumerate(cases):
        names[place] = pseudonymous(names[place], next(iter(case.images.values())).path, case.patient)
    names = short_names(names)
    patients = patients_of(cases)
    records = []
    for name, case, patient in zip(names, cases, patients, strict=True):
        of_class, split = about[next(iter(case.images.values()))]
        images = {channel: reference(item, path) for channel, item in case.images.items()}
        target = labels.names.index(of_class)
        records.append(Record(name=name, images=images, target=target, split=split, patient=patient))
    return Manifest(
        name=path.name,
        root=path,
        layout=NAME,
        labels=labels,
        records=tuple(records),
        channels=tuple(records[0].images),
        patients="given" if any(patients) else "unknown",
    )


def _images_of(folder: Path, root: Path) -> list[Item]:
    items = find_images(folder)
    if not items:
        raise DatasetError(
            f"the class folder {folder.relative_to(root)} holds no image", remedy="add images, or remove the folder"
        )
    prefix = folder.relative_to(root).as_posix()
    return [replace(item, name=f"{prefix}/{item.name}") for item in items]


def _names(cases: list[Case]) -> list[str]:
    """Names below the class folders where these are unique, otherwise with the folders of class and split."""
    for drop in (2, 1, 0):
        short = ["/".join(case.name.split("/")[drop:]) for case in cases]
        if all(short) and len({name.lower() for name in short}) == len(cases):
            return short
    return [case.name for case in cases]
