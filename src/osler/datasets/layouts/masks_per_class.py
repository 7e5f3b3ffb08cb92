"""Images with a mask file per class: told apart by folder, by suffix, or both; or masks beside their images.

DATA/images/a.png, DATA/masks/liver/a.png, DATA/masks/tumour/a.png      a folder per class
DATA/images/a.png, DATA/masks/a_liver.png, DATA/masks/a_tumour.png      a suffix per class
DATA/s01/ct.nii.gz, DATA/s01/segmentations/liver.nii.gz ...             a folder per case
DATA/a.png, DATA/a_mask.png (a_image.nrrd, a_label.nrrd)                beside one another, also in folders of classes
DATA/benign/x.png, DATA/benign/x_mask.png, DATA/benign/x_mask_1.png     several files of one class are joined

Images may be of any format: for ``a.png`` above there may be a folder ``a`` with a DICOM series, for ``ct.nii.gz`` the
slices themselves or a folder of them. Masks beside their images that say no class may hold several values, the
labels then. A case that has a mask of some classes and not of others shows only the former; how often is noted. Where
classes overlap, see ``mask_sources``.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task, mask_labels, named_labels
from osler.datasets.layouts.files import (
    SPLIT_FOLDERS,
    Case,
    Item,
    find_images,
    has_images,
    image_suffix,
    is_series_folder,
    natural,
    patients_of,
    reference,
    short_names,
    subfolders,
    visible,
)
from osler.datasets.layouts.image_mask_folders import IMAGE_FOLDERS, MASK_FOLDERS, MASK_SUFFIXES
from osler.datasets.layouts.masks import all_values, refuse_lossy
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Layer, Manifest, Record
from osler.datasets.mask_sources import OVERLAP_NOTE, values_of
from osler.datasets.plan import TaskName
from osler.errors import DatasetError
from osler.studies.files import kind_of_file

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "masks-per-class"
NEEDS: tuple[Need, ...] = (
    Need("the folder 'images'", lambda seen: seen.named(*IMAGE_FOLDERS)),
    Need("the folder 'masks' with a folder or a suffix per class", lambda seen: seen.named(*MASK_FOLDERS)),
)
_CLASS = re.compile(r"^[-_. ](.+?)$")
_NUMBER = re.compile(r"[-_. ]?\d+$")
_PLAIN = {suffix.strip("-_") for suffix in MASK_SUFFIXES} | {"gt", "segmentation", "foreground"}
_OF_IMAGES = ("_image", "-image", "_img", "-img", "_volume", "_vol", "_scan")
_FOREGROUND = "foreground"


@dataclass(frozen=True)
class _Case:
    """Image files by channel, and the mask files by class."""

    name: str
    images: Mapping[str, Item]
    masks: Mapping[str, Sequence[Item]]
    folder: str = ""


def sniff(path: Path) -> str | None:
    """One of the forms above, with at least two classes, or masks beside images."""
    if not path.is_dir():
        return None
    folders = _image_and_mask_folder(path)
    if folders is not None:
        return _sniff_folders(*folders)
    case = next((f for f in subfolders(path) if _segmentations(f) is not None), None)
    if case is not None:
        return f"a folder per case, with a mask per class in {case.name}/{(_segmentations(case) or case).name}"
    masks = _beside(path)
    return f"masks beside their images ({masks.name})" if masks else None


def _sniff_folders(images: Path, masks: Path) -> str | None:
    classes = _class_folders(masks)
    if classes:
        return f"images in {images.name} and a folder of masks per class in {masks.name} ({', '.join(classes)})"
    stems = {item.name for item in find_images(images)}
    found = {None if item.name in stems else _split_name(item.name, stems) for item in find_images(masks)}
    names = sorted({name for _, name in (one for one in found if one is not None)})
    if None in found or len(names) < 2:
        return None
    return f"images in {images.name} and a mask per class by suffix in {masks.name} ({', '.join(names)})"


def read(path: Path, task: TaskName | None) -> Manifest:
    """All cases. With the task "classify" masks that lie in folders of classes beside their images are left alone.

    Raises:
        DatasetError: when an image has no mask at all, or a mask no image.
    """
    left_out: list[str] = []
    cases = _cases(path, left_out)
    refuse_lossy([mask.path for case in cases for files in case.masks.values() for mask in files])
    folders = {case.folder for case in cases}
    possible: tuple[TaskName, ...] = ("segment", "classify", "ordinal") if len(folders) > 1 else ("segment",)
    task = check_task(task, possible, "masks per class")
    classes = sorted({name for case in cases for name in case.masks}, key=natural)
    values = _values_of_single_masks(cases, classes, path)
    if task == "segment" and values:
        labels = mask_labels(values)
    elif task == "segment":
        labels = LabelSet(kind="mask", labels=tuple(Label(name=name, value=n) for n, name in enumerate(classes, 1)))
    else:
        labels = named_labels(folders, "grades" if task == "ordinal" else "classes", "folder")
    patients = patients_of([Case(case.name, dict(case.images)) for case in cases])
    records = tuple(
        _record(name, case, path, labels, several=len(folders) > 1).model_copy(update={"patient": patient})
        for name, case, patient in zip(short_names(_names(cases)), cases, patients, strict=True)
    )
    channels = tuple(records[0].images)
    odd = next((record for record in records if tuple(record.images) != channels), None)
    if odd is not None:
        raise DatasetError(
            f"{odd.name} has the images {', '.join(odd.images)}, and {records[0].name} has {', '.join(channels)}",
            remedy="give every case the same images",
        )
    notes = _notes(cases, classes) if task == "segment" else ()
    return Manifest(
        name=path.name,
        root=path,
        layout=NAME,
        labels=labels,
        records=records,
        channels=channels,
        patients="given" if any(patients) else "unknown",
        notes=(*left_out, *notes),
    )


def _values_of_single_masks(cases: Sequence[_Case], classes: Sequence[str], root: Path) -> frozenset[int]:
    """The values that are labels, where each case has one mask that says no class and some hold several values."""
    files = [item for case in cases for item in case.masks.get(_FOREGROUND, ())]
    if list(classes) != [_FOREGROUND] or len(files) != len(cases):
        return frozenset()
    refs = [reference(item, root) for item in files]
    values = all_values(root, refs) - {0}
    return values if any(len(values_of(root, ref) - {0}) > 1 for ref in refs) else frozenset()


def _record(name: str, case: _Case, root: Path, labels: LabelSet, *, several: bool) -> Record:
    images = {channel: reference(file, root) for channel, file in case.images.items()}
    columns = {"folder": case.folder} if several else {}
    if labels.kind != "mask":
        return Record(name=name, images=images, target=labels.names.index(case.folder), columns=columns)
    if all(label.name not in case.masks for label in labels.labels):  # the values of one file are the labels
        return Record(name=name, images=images, mask=reference(case.masks[_FOREGROUND][0], root), columns=columns)
    layers = tuple(
        Layer(path=reference(file, root).path, value=label.value)
        for label in labels.labels
        for file in case.masks.get(label.name, ())
    )
    mask = ImageRef(path=layers[0].path, layers=layers)
    return Record(name=name, images=images, mask=mask, columns=columns)


def _notes(cases: Sequence[_Case], classes: Sequence[str]) -> tuple[str, ...]:
    missing = {name: sum(name not in case.masks for case in cases) for name in classes}
    listed = ", ".join(f"{name} in {count}" for name, count in missing.items() if count)
    notes = [f"cases without a mask file of a class are taken as not showing it: {listed} of {len(cases)}"]
    return (*(notes if listed else ()), *((OVERLAP_NOTE,) if len(classes) > 1 else ()))


def _cases(path: Path, notes: list[str]) -> list[_Case]:
    folders = _image_and_mask_folder(path)
    if folders is not None:
        return _in_folders(*folders)
    if any(_segmentations(f) is not None for f in subfolders(path)):
        return [_in_case_folder(f) for f in subfolders(path)]
    return _beside_cases(path, notes)


def _image_and_mask_folder(path: Path) -> tuple[Path, Path] | None:
    by_name = {f.name.lower(): f for f in subfolders(path)}
    images = next((by_name[name] for name in IMAGE_FOLDERS if name in by_name), None)
    masks = next((by_name[name] for name in MASK_FOLDERS if name in by_name), None)
    return (images, masks) if images is not None and masks is not None and has_images(images) else None


def _class_folders(masks: Path) -> list[str]:
    """The folders in a folder of masks, when there are several, each with images, none named as a split."""
    folders = subfolders(masks)
    if len(folders) < 2 or any(f.name.lower() in SPLIT_FOLDERS or not has_images(f) for f in folders):
        return []
    return [f.name for f in folders]


def _in_folders(images: Path, masks: Path) -> list[_Case]:
    items = find_images(images)
    stems = {item.name for item in items}
    found: dict[str, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
    folders = _class_folders(masks)
    for item in find_images(masks):
        of_class, _, rest = item.name.partition("/") if folders else ("", "", item.name)
        parts = (rest, of_class) if rest in stems else _split_name(rest, stems)
        if parts is None:
            raise DatasetError(
                f"the mask {masks.name}/{item.name} has no image in {images.name}",
                remedy="name it as its image, followed by the class",
            )
        found[parts[0]][of_class or parts[1]].append(item)
    return [_Case(item.name, {"image": item}, _checked(item.name, found.get(item.name, {}))) for item in items]


def _checked(name: str, masks: Mapping[str, Sequence[Item]]) -> Mapping[str, Sequence[Item]]:
    if not masks:
        raise DatasetError(
            f"the image {name} has no mask of any class",
            remedy="add one (an empty one if there is nothing to see), or remove the image",
        )
    return masks


def _split_name(name: str, stems: Container[str]) -> tuple[str, str] | None:
    """Image and class of a mask's name: the longest image name that it begins with, and what follows."""
    for end in range(len(name) - 1, 0, -1):
        match = _CLASS.match(name[end:]) if name[:end] in stems else None
        if match:
            return name[:end], _class_name(match[1])
    return None


def _class_name(text: str) -> str:
    """``mask_1`` and ``mask`` say no class; ``tumour_2`` is a part of ``tumour``."""
    stem = _NUMBER.sub("", text) or text
    return _FOREGROUND if stem.lower() in _PLAIN else stem


def _segmentations(folder: Path) -> Path | None:
    """The folder of masks in a case's folder: beside at least one image or DICOM series, with at least two masks."""
    masks = next((f for f in subfolders(folder) if f.name.lower() in MASK_FOLDERS), None)
    if masks is None or sum(_is_image(p) for p in visible(masks)) < 2:
        return None
    series = (f for f in subfolders(folder) if f != masks and f.name.lower() not in IMAGE_FOLDERS)
    beside = any(kind_of_file(p) in ("image", "dicom") for p in visible(folder)) or any(map(is_series_folder, series))
    return masks if beside else None


def _is_image(path: Path) -> bool:
    return kind_of_file(path) == "image"


def _in_case_folder(folder: Path) -> _Case:
    masks = _segmentations(folder)
    if masks is None:
        raise DatasetError(f"{folder.name} has no folder with masks", remedy="add its masks, or move it elsewhere")
    items = [item for item in find_images(folder) if not item.path.is_relative_to(masks)]
    images = {"image": items[0]} if len(items) == 1 else {item.name: item for item in items}
    found = {item.name: [item] for item in find_images(masks)}
    return _Case(folder.name, images, _checked(folder.name, found), "")


def _stem(path: Path) -> str:
    return path.name if path.is_dir() else path.name[: -len(image_suffix(path.name)) or None]


def _beside(path: Path) -> Path | None:
    """A mask that lies beside its image, when most images of its folder have one."""
    for folder in (path, *subfolders(path)):
        files = [p for p in visible(folder) if _is_image(p)]
        series = [
            f for f in subfolders(folder) if any(p.name.startswith(f.name) for p in files) and is_series_folder(f)
        ]
        masks = _masks_among([*files, *series])
        if masks and 2 * len({image for image, _ in masks.values()}) > len(files) + len(series) - len(masks):
            return next(iter(masks))
    return None


def _masks_among(paths: Sequence[Path]) -> dict[Path, tuple[Path, str]]:
    """Image and class of every file that is called as another image and a mask's suffix."""
    images = {_stem(p): p for p in paths}
    named = {_without_suffix(stem): path for stem, path in images.items()} | images
    for stem in [one for one in images if _is_mask_of(one, named)]:
        del images[stem], named[stem]  # so that x_mask_1 is a mask of x and not of x_mask
    found = {}
    for path in paths:
        parts = _split_name(_stem(path), named) if _stem(path) not in images else None
        if parts is not None:
            found[path] = (named[parts[0]], parts[1])
    return found


def _without_suffix(stem: str) -> str:
    """The name of an image without what says that it is one: "x_image" as "x"."""
    return next((stem[: -len(s)] for s in _OF_IMAGES if stem.lower().endswith(s) and len(stem) > len(s)), stem)


def _is_mask_of(stem: str, stems: Container[str]) -> bool:
    parts = _split_name(stem, stems)
    return parts is not None and (parts[1] == _FOREGROUND or _is_mask_of(parts[0], stems))


def _beside_cases(path: Path, notes: list[str]) -> list[_Case]:
    """The images with their masks; masks without an image are noted."""
    cases, lost = [], []
    for folder in (path, *subfolders(path)):
        items = {item.path: item for item in find_images(folder) if item.path.parent == folder}
        masks = _masks_among(list(items))
        of_image: dict[Path, dict[str, list[Item]]] = defaultdict(lambda: defaultdict(list))
        for mask, (image, name) in masks.items():
            of_image[image][name].append(items[mask])
        for item in (one for one in items.values() if one.path not in masks):
            if item.path not in of_image and item.name.lower().endswith(MASK_SUFFIXES):
                lost.append(item.path.relative_to(path).as_posix())
                continue
            found = _checked(item.path.relative_to(path).as_posix(), of_image.get(item.path, {}))
            cases.append(_Case(item.name, {"image": item}, found, folder.name if folder != path else ""))
    if lost:
        notes.append(f"{len(lost)} masks have no image beside them and are not used ({', '.join(lost[:3])})")
    return cases


def _names(cases: Sequence[_Case]) -> list[str]:
    counts = Counter(case.name.lower() for case in cases)
    return [f"{case.folder}/{case.name}" if counts[case.name.lower()] > 1 else case.name for case in cases]
