"""COCO: images, and one ``.json`` per split with their categories and shapes (polygons or run lengths).

DATA/annotations/instances_train.json, DATA/images/*.jpg           the split is in the file's name
DATA/train/_annotations.coco.json, DATA/train/*.jpg                or in the folder's
DATA/annotations.json, DATA/*.png                                  or nothing says one

Boxes are no masks: a file in which an annotation has a box only is refused for masks. With the task "multilabel" what
is learnt is which categories an image shows, for which boxes will do.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from osler.datasets import coco
from osler.datasets.coco import CocoFile, CocoImage
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task, mask_labels
from osler.datasets.layouts.files import (
    SPLIT_FOLDERS,
    files_by_name,
    image_suffix,
    reference,
    short_names,
    subfolders,
    visible,
)
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Manifest, Record, Split
from osler.datasets.mask_sources import OVERLAP_NOTE
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "coco"
NEEDS: tuple[Need, ...] = (
    Need(
        "a .json that lists images, annotations and categories",
        lambda seen: seen.has(".json") and not seen.named("dataset.json"),
    ),
    Need("the folder 'annotations' around it", lambda seen: seen.named("annotations")),
    Need("the images", lambda seen: seen.images > 0),
)
_Listed = tuple[CocoFile, CocoImage, Split | None]


def sniff(path: Path) -> str | None:
    """A COCO ``.json``, or a folder with some in it, in ``annotations``, or in the folders of splits."""
    files = _files(path)
    return f"{files[0].name} lists images, annotations and categories" if files else None


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path] if coco.looks_like_coco(path) else []
    if not path.is_dir():
        return []
    folders = [
        path,
        *(f for f in subfolders(path) if f.name.lower() == "annotations" or f.name.lower() in SPLIT_FOLDERS),
    ]
    found = [p for folder in folders for p in visible(folder) if p.suffix.lower() == ".json"]
    return [p for p in found if coco.looks_like_coco(p)]


def read(path: Path, task: TaskName | None) -> Manifest:
    """Every image of every file. An image without annotations has an empty mask.

    Raises:
        NoLabels: when there are only boxes and masks are wanted.
        DatasetError: when an image is missing, files disagree on categories, or some annotations have only a box.
    """
    task = check_task(task, ("segment", "multilabel"), "a COCO file")
    files = [coco.load(file) for file in _files(path)]
    categories = _categories(files)
    root = path if path.is_dir() else path.parent
    if task == "segment":
        _refuse_boxes(files)
    splits = [_split_of(file.path, root) for file in files]
    listed = [(file, image, split) for file, split in zip(files, splits, strict=True) for image in file.images.values()]
    images = _find_images(listed, root)
    labels = _mask_label_set(files, categories) if task == "segment" else _presence_label_set(categories, files)
    names = short_names(_names(images, root))
    records = tuple(
        _record(name, entry, image, root, labels) for name, entry, image in zip(names, listed, images, strict=True)
    )
    return Manifest(name=root.name, root=root, layout=NAME, labels=labels, records=records, notes=_notes(files, labels))


def _record(name: str, entry: _Listed, image: Path, root: Path, labels: LabelSet) -> Record:
    file, listed, split = entry
    images = {"image": reference(image, root)}
    if labels.kind == "mask":
        mask = ImageRef(path=reference(file.path, root).path, key=listed.id)
        return Record(name=name, images=images, mask=mask, split=split)
    shown = file.values_in(listed.id) | set(file.boxes.get(listed.id, ()))
    return Record(name=name, images=images, target=tuple(int(v in shown) for v in _values(labels, file)), split=split)


def _values(labels: LabelSet, file: CocoFile) -> list[int]:
    by_name = {name: value for value, name in file.categories.items()}
    return [by_name[name] for name in labels.names]


def _categories(files: Sequence[CocoFile]) -> Mapping[int, str]:
    first = files[0]
    for other in files[1:]:
        if other.categories != first.categories:
            raise DatasetError(
                f"{first.path.name} and {other.path.name} list different categories",
                remedy="export them with one list of categories, or name one of the files",
            )
    if len(set(first.categories.values())) < len(first.categories):
        twice = next(name for name, count in Counter(first.categories.values()).items() if count > 1)
        raise DatasetError(f"{first.path.name} has two categories {twice!r}", remedy="join or rename them")
    return first.categories


def _refuse_boxes(files: Sequence[CocoFile]) -> None:
    boxes = sum(len(values) for file in files for values in file.boxes.values())
    shapes = sum(len(found) for file in files for found in file.shapes.values())
    remedy = "draw the shapes; or learn which categories an image shows with --task multilabel"
    if boxes and not shapes:
        raise NoLabels(f"the {boxes} annotations of {files[0].path.name} are boxes, not masks", remedy=remedy)
    if boxes:
        raise DatasetError(
            f"{boxes} of {boxes + shapes} annotations of {files[0].path.name} have a box and no shape, "
            "so the masks would lack them",
            remedy=remedy,
        )


def _mask_label_set(files: Sequence[CocoFile], categories: Mapping[int, str]) -> LabelSet:
    return mask_labels({v for file in files for image in file.shapes for v in file.values_in(image)}, dict(categories))


def _presence_label_set(categories: Mapping[int, str], files: Sequence[CocoFile]) -> LabelSet:
    shown = {v for file in files for image in file.shapes for v in file.values_in(image)}
    shown |= {v for file in files for values in file.boxes.values() for v in values}
    if not shown:
        raise NoLabels(f"{files[0].path.name} annotates nothing", remedy="give the file with the annotations")
    names = [categories[value] for value in sorted(shown)]
    return LabelSet(kind="several", labels=tuple(Label(name=name, value=n) for n, name in enumerate(names)))


def _notes(files: Sequence[CocoFile], labels: LabelSet) -> tuple[str, ...]:
    unused = [name for name in files[0].categories.values() if name not in labels.names]
    notes = [f"no image shows {', '.join(unused)}, so they are no labels"] if unused else []
    empty = sum(image not in file.shapes and image not in file.boxes for file in files for image in file.images)
    notes += [f"{empty} images have no annotation: taken as showing none of the labels"] if empty else []
    return tuple(notes + ([OVERLAP_NOTE] if labels.kind == "mask" and len(labels.labels) > 1 else []))


def _split_of(file: Path, root: Path) -> Split | None:
    """By the folder of a split that the file lies in, else by a word of its name."""
    folder = file.parent.name.lower() if file.parent != root else ""
    words = re.split(r"[^a-z]+", file.stem.lower())
    return next((SPLIT_FOLDERS[word] for word in (folder, *words) if word in SPLIT_FOLDERS), None)


def _find_images(listed: Sequence[_Listed], root: Path) -> list[Path]:
    """Beside the file, in the root, or anywhere below under that name if it is there once."""
    anywhere: dict[str, list[Path]] = {}
    found = []
    for file, image, _ in listed:
        places = [file.path.parent / image.file_name, root / image.file_name, root / "images" / image.file_name]
        path = next((p for p in places if p.is_file()), None)
        if path is None:
            anywhere = anywhere or files_by_name(root)
            path = _only(anywhere.get(Path(image.file_name).name, []), file, image)
        found.append(path)
    return found


def _only(paths: Sequence[Path], file: CocoFile, image: CocoImage) -> Path:
    if len(paths) == 1:
        return paths[0]
    problem = "is not there" if not paths else f"is there {len(paths)} times"
    raise DatasetError(
        f"{file.path.name} lists {image.file_name}, which {problem}",
        remedy="copy the missing image" if not paths else "put each split's images beside its .json",
    )


def _names(images: Iterable[Path], root: Path) -> list[str]:
    """File names without extension where these are unique, else with the folders above."""
    paths = list(images)
    stems = [p.name[: -len(image_suffix(p.name)) or None] for p in paths]
    if len({stem.lower() for stem in stems}) == len(stems):
        return stems
    whole = [reference(p, root).path for p in paths]
    return [name[: -len(image_suffix(name)) or None] for name in whole]
