"""Images and masks in two folders by the same names; above or below them, where there are any, given splits.

DATA/images/a.png, DATA/masks/a.png                   also a_mask.png, a_seg.png ... for the mask
DATA/train/images/a.png, DATA/train/masks/a.png ...   given splits
DATA/images/train/a.png, DATA/masks/train/a.png ...   the same the other way round

Image and mask may be of different formats: a DICOM series in the folder ``images/a`` has its mask in ``masks/a.nrrd``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from osler.datasets.layouts.answers import check_task, mask_labels
from osler.datasets.layouts.files import (
    SPLIT_FOLDERS,
    Case,
    Item,
    by_channels,
    find_images,
    has_images,
    patients_of,
    reference,
    short_names,
    split_folders,
    subfolders,
)
from osler.datasets.layouts.masks import all_values, refuse_lossy
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import Flaw, Manifest, Record, Split
from osler.datasets.plan import TaskName
from osler.errors import DatasetError

__all__ = [
    "IMAGE_FOLDERS",
    "MASK_FOLDERS",
    "MASK_SUFFIXES",
    "NAME",
    "NEEDS",
    "is_image_or_mask_folder",
    "read",
    "sniff",
]

NAME: str = "image-mask-folders"
IMAGE_FOLDERS = ("images", "image", "imgs", "img", "imagestr", "scans", "volumes")
MASK_FOLDERS = (
    "masks",
    "mask",
    "labels",
    "label",
    "labelstr",
    "annotations",
    "annotation",
    "segmentations",
    "segmentation",
    "segs",
    "seg",
    "ground_truth",
    "groundtruth",
    "gt",
)
NEEDS: tuple[Need, ...] = (
    Need("the folder 'images'", lambda seen: seen.named(*IMAGE_FOLDERS)),
    Need("images in it", lambda seen: seen.images > 0),
    Need("the folder 'masks' with a mask of the same name for each", lambda seen: seen.named(*MASK_FOLDERS[:2])),
)
MASK_SUFFIXES = ("_mask", "_masks", "_seg", "_segmentation", "_label", "_labels", "_gt", "-mask", "-seg", "-label")
_MOST_SHOWN = 8
_Pair = tuple[Case, Item | None, Split | None]


def is_image_or_mask_folder(folder: Path) -> bool:
    """Whether the folder's name says that it holds all images or all masks, so that it is no class."""
    return folder.name.lower() in IMAGE_FOLDERS + MASK_FOLDERS


def sniff(path: Path) -> str | None:
    """A folder, or folders of splits, with a folder of images beside one of masks."""
    pairs = _folder_pairs(path)
    if not pairs:
        return None
    images, masks, _ = pairs[0]
    return f"images in {images.relative_to(path)} and masks in {masks.relative_to(path)}"


def _folder_pairs(path: Path) -> list[tuple[Path, Path, Split | None]]:
    if not path.is_dir():
        return []
    splits: Mapping[Path, Split | None] = split_folders(path) or {path: None}
    found = []
    for folder, split in splits.items():
        images = _named(folder, IMAGE_FOLDERS)
        masks = _named(folder, MASK_FOLDERS)
        if images is None or masks is None:
            return []
        found.append((images, masks, split))
    return found


def _named(folder: Path, names: Sequence[str]) -> Path | None:
    found = {f.name.lower(): f for f in subfolders(folder) if has_images(f)}
    return next((found[name] for name in names if name in found), None)


def read(path: Path, task: TaskName | None) -> Manifest:
    """All pairs. The labels are the values that the masks hold; a single one is "foreground".

    Raises:
        DatasetError: when no image has a mask, or a mask cannot be one. Some images without a mask, or masks without an
            image, are flaws.
    """
    check_task(task, ("segment",), "masks")
    flaws: list[Flaw] = []
    pairs = [pair for images, masks, split in _folder_pairs(path) for pair in _pairs(images, masks, split, path, flaws)]
    refuse_lossy([mask.path for _, mask, _ in pairs if mask])
    patients = patients_of([case for case, _, _ in pairs])
    names = short_names(_names(pairs))
    records = tuple(
        Record(
            name=name,
            images={channel: reference(item, path) for channel, item in case.images.items()},
            mask=reference(mask, path) if mask else None,
            split=split,
            patient=patient,
        )
        for name, (case, mask, split), patient in zip(names, pairs, patients, strict=True)
    )
    labels = mask_labels(all_values(path, [record.mask for record in records if record.mask]))
    return Manifest(
        name=path.name,
        root=path,
        layout=NAME,
        labels=labels,
        records=records,
        channels=tuple(records[0].images),
        patients="given" if any(patients) else "unknown",
        flaws=(*_without_mask(records, pairs), *flaws),
    )


def _without_mask(records: Sequence[Record], pairs: Sequence[_Pair]) -> Iterator[Flaw]:
    bare = [(record.name, case.name) for record, (case, mask, _) in zip(records, pairs, strict=True) if mask is None]
    if bare:
        yield Flaw(
            first=f"the image {bare[0][1]} has no mask",
            what="no mask for the image",
            remedy="add its mask (an empty one if there is nothing to see), or remove the image",
            cases=tuple(name for name, _ in bare),
            count=len(bare),
        )


def _pairs(images: Path, masks: Path, split: Split | None, root: Path, flaws: list[Flaw]) -> list[_Pair]:
    """Each image with its mask, or None; masks without an image are added to the flaws.

    Raises:
        DatasetError: when no image has a mask.
    """
    cases = by_channels(find_images(images))
    exact = {item.name: item for item in find_images(masks, masks=True)}
    found = {_without_suffix(item): item for item in exact.values()}
    result: list[_Pair] = []
    for case in cases:
        mask = exact.get(case.name) or found.get(case.name)
        result.append((case, mask, split or _split_below(case.name)))
    if not any(mask for _, mask, _ in result):
        raise DatasetError(
            f"the image {cases[0].name} has no mask in {masks.relative_to(root)}, and no other image has one",
            remedy="call each mask as its image",
        )
    spare = sorted({item.path for item in exact.values()} - {mask.path for _, mask, _ in result if mask})
    if spare:
        shown = ", ".join(str(mask.relative_to(root)) for mask in spare[:_MOST_SHOWN])
        flaw = Flaw(
            first=f"the mask {spare[0].relative_to(root)} has no image in {images.relative_to(root)}",
            what=f"masks without an image in {images.relative_to(root)}: {len(spare)} ({shown}"
            f"{' ...' if len(spare) > _MOST_SHOWN else ''})",
            remedy="add the images, or remove the masks",
            count=len(spare),
        )
        flaws.append(flaw)
    return result


def _without_suffix(item: Item) -> str:
    for suffix in MASK_SUFFIXES:
        if item.name.lower().endswith(suffix):
            return item.name[: -len(suffix)]
    return item.name


def _split_below(name: str) -> Split | None:
    return SPLIT_FOLDERS.get(name.split("/")[0].lower()) if "/" in name else None


def _names(pairs: list[_Pair]) -> list[str]:
    """File names where these are unique, else with the folders above, else with the split too."""
    whole = [case.name for case, _, _ in pairs]
    last = [name.split("/")[-1] for name in whole]
    for names in (last, whole):
        if len({name.lower() for name in names}) == len(names):
            return names
    return [f"{split}/{case.name}" for case, _, split in pairs]
