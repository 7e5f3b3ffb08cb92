"""Pascal VOC: images, class masks, and an ``.xml`` of boxes per image.

DATA/JPEGImages/a.jpg, DATA/SegmentationClass/a.png      masks: the palette's index is the class
DATA/JPEGImages/a.jpg, DATA/Annotations/a.xml            boxes
DATA/ImageSets/Segmentation/train.txt (val, test)        given splits
DATA/labelmap.txt, class_names.txt or labels.txt         names of the classes, one a line, the background first

``images`` may stand for ``JPEGImages``. Boxes are no masks: without class masks the task must be "multilabel", for
which they say which objects an image shows. ``SegmentationObject`` (instances) is not used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task, mask_labels
from osler.datasets.layouts.files import (
    SPLIT_FOLDERS,
    Item,
    check_text,
    find_images,
    has_images,
    natural,
    read_text,
    reference,
    short_names,
    subfolders,
    visible,
)
from osler.datasets.layouts.masks import all_values, refuse_lossy
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import Flaw, ImageRef, Manifest, Record, Split, Target
from osler.datasets.mask_sources import values_of
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels
from osler.studies.formats.base import peek

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "voc"
NEEDS: tuple[Need, ...] = (
    Need("the folder 'JPEGImages' (or 'images')", lambda seen: seen.named("jpegimages", "images")),
    Need(
        "the folder 'SegmentationClass' or 'Annotations'", lambda seen: seen.named("segmentationclass", "annotations")
    ),
    Need("class masks as .png, or an .xml per image", lambda seen: seen.has(".xml")),
)
_IMAGES = ("jpegimages", "images", "image")
_NAMES = ("labelmap.txt", "class_names.txt", "labels.txt")
_BACKGROUND = ("background", "_background_", "__background__")
_VOID = 255


def sniff(path: Path) -> str | None:
    """A folder of images beside ``SegmentationClass`` with masks, or ``Annotations`` with VOC's ``.xml``."""
    if not path.is_dir() or _folder(path, _IMAGES) is None:
        return None
    masks = _folder(path, ("segmentationclass",))
    if masks is not None and has_images(masks):
        return f"class masks in {masks.name}"
    boxes = _folder(path, ("annotations",))
    first = next((p for p in visible(boxes) if p.suffix.lower() == ".xml"), None) if boxes else None
    if boxes is None or first is None or b"<annotation" not in peek(first, 2048):
        return None
    return f"an .xml with boxes per image in {boxes.name}"


def _folder(path: Path, names: Sequence[str]) -> Path | None:
    return next((f for f in subfolders(path) if f.name.lower() in names), None)


def read(path: Path, task: TaskName | None) -> Manifest:
    """The images that have a class mask; or, with "multilabel", those that have an ``.xml``.

    Raises:
        NoLabels: when there are only boxes and masks are wanted.
        DatasetError: when an image is missing or an ``.xml`` is damaged. Masks with void pixels are a flaw.
    """
    masks = _folder(path, ("segmentationclass",))
    boxes = _folder(path, ("annotations",))
    possible: list[TaskName] = ["segment"] if masks is not None else []
    possible += ["multilabel"] if boxes is not None else []
    if masks is None and boxes is not None and task in (None, "segment"):
        raise _only_boxes(boxes)
    task = check_task(task, possible, "a Pascal VOC folder")
    images = {item.name: item for item in find_images(_folder(path, _IMAGES) or path)}
    if task == "multilabel" and boxes is not None:
        return _by_boxes(path, images, boxes)
    return _by_masks(path, images, masks or path)


def _by_masks(path: Path, images: Mapping[str, Item], folder: Path) -> Manifest:
    masks = find_images(folder)
    refuse_lossy([mask.path for mask in masks])
    refs = [reference(mask, path) for mask in masks]
    values = all_values(path, refs) - {0}
    names = _class_names(path)
    void = [ref for ref in refs if _VOID in values_of(path, ref)] if _VOID in values and _VOID not in names else []
    values -= {_VOID} if void else set()
    unnamed = sorted(values - names.keys())
    if names and unnamed:
        raise DatasetError(
            f"the masks hold {unnamed[0]}, which the list of classes does not name", remedy="name it there"
        )
    records = _records(path, images, [mask.name for mask in masks], masks=refs)
    unused = len(images) - len(records)
    notes = (f"{unused} images have no mask in {folder.name} and are not used",) if unused else ()
    return Manifest(
        name=path.name,
        root=path,
        layout=NAME,
        labels=mask_labels(values, names),
        records=records,
        notes=notes,
        flaws=(_void_flaw(len(void), folder),) if void else (),
    )


def _void_flaw(count: int, folder: Path) -> Flaw:
    what = f"masks in {folder.name} have pixels of value {_VOID}, which VOC leaves open (void)"
    return Flaw(
        first=what,
        what=f"{count} {what}: they are neither background nor a class",
        remedy="give these pixels a class, or 0 for background; Osler cannot leave pixels out",
        count=count,
    )


def _by_boxes(path: Path, images: Mapping[str, Item], folder: Path) -> Manifest:
    files = _annotations(folder)
    objects = {file.stem: _objects(file) for file in files}
    names = sorted({name for found in objects.values() for name in found}, key=natural)
    if not names:
        raise NoLabels(f"no .xml in {folder.name} names an object", remedy="check that these are VOC annotations")
    targets: list[Target] = [tuple(int(name in found) for name in names) for found in objects.values()]
    labels = LabelSet(kind="several", labels=tuple(Label(name=name, value=n) for n, name in enumerate(names)))
    records = _records(path, images, list(objects), targets=targets)
    notes = ("boxes are used only to say which objects an image shows",)
    return Manifest(name=path.name, root=path, layout=NAME, labels=labels, records=records, notes=notes)


def _records(
    path: Path,
    images: Mapping[str, Item],
    stems: Sequence[str],
    *,
    masks: Sequence[ImageRef] = (),
    targets: Sequence[Target] = (),
) -> tuple[Record, ...]:
    missing = [stem for stem in stems if stem not in images]
    if missing:
        raise DatasetError(
            f"{missing[0]} is annotated and has no image", remedy="add the image, or remove what is of it"
        )
    splits = _splits(path)
    return tuple(
        Record(
            name=name,
            images={"image": reference(images[stem], path)},
            mask=masks[n] if masks else None,
            target=targets[n] if targets else None,
            split=splits.get(stem),
        )
        for n, (name, stem) in enumerate(zip(short_names(stems), stems, strict=True))
    )


def _splits(path: Path) -> dict[str, Split]:
    """By image, from ``ImageSets/Segmentation`` or ``ImageSets/Main``; empty where they do not name every image."""
    sets = _folder(path, ("imagesets",))
    folder = None if sets is None else _folder(sets, ("segmentation",)) or _folder(sets, ("main",))
    found: dict[str, Split] = {}
    for file in visible(folder) if folder else []:
        if file.suffix == ".txt" and file.stem.lower() in SPLIT_FOLDERS:
            found |= {line.split()[0]: SPLIT_FOLDERS[file.stem.lower()] for line in _lines(file)}
    return found


def _class_names(path: Path) -> dict[int, str]:
    """Value by place in the list. CVAT's ``labelmap.txt`` has ``name:r,g,b:parts:actions``, others a name a line."""
    file = next((path / name for name in _NAMES if (path / name).is_file()), None)
    if file is None:
        return {}
    names = [line.split(":")[0] for line in _lines(file) if line[0] != "#" and line != "__ignore__"]
    if not names or names[0].lower() not in _BACKGROUND:
        raise DatasetError(
            f"{file.name} does not begin with the background", remedy="let its first line be 'background'"
        )
    return dict(enumerate(names[1:], 1))


def _lines(file: Path) -> list[str]:
    """The lines of a list that are not empty."""
    return [line.strip() for line in read_text(file).splitlines() if line.strip()]


def _annotations(folder: Path) -> list[Path]:
    return [p for p in visible(folder) if p.suffix.lower() == ".xml"]


def _objects(file: Path) -> Counter[str]:
    """How many boxes of each name an annotation has."""
    check_text(file)
    try:
        root = ElementTree.parse(file).getroot()
    except (ElementTree.ParseError, OSError, ValueError) as error:
        raise DatasetError(f"{file.name} is no VOC annotation: {error}", remedy="export it again") from error
    return Counter((one.findtext("name") or "").strip() for one in root.iter("object"))


def _only_boxes(folder: Path) -> NoLabels:
    files = _annotations(folder)
    total: Counter[str] = Counter()
    for file in files:
        total += _objects(file)
    listed = ", ".join(f"{name} {count}" for name, count in total.most_common())
    return NoLabels(
        f"{folder.name} holds {total.total()} boxes on {len(files)} images ({listed}), and boxes are no masks",
        remedy="draw masks; or learn which objects an image shows with --task multilabel",
    )
