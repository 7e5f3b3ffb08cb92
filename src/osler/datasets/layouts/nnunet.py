"""nnU-Net: ``imagesTr`` with a file per channel (``case_0000``), ``labelsTr``, ``dataset.json`` of either version.

The files may be of any format that is read, whatever ``file_ending`` says: NIfTI, NRRD, MetaImage, PNG, TIFF ...
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path
from typing import Any

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task
from osler.datasets.layouts.decathlon import modality_of, read_json
from osler.datasets.layouts.files import Item, find_images, natural, reference, short_names
from osler.datasets.layouts.masks import refuse_lossy
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import Manifest, Record
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels

__all__ = ["NAME", "NEEDS", "channel_names_of", "labels_of", "read", "sniff"]

NAME: str = "nnunet"
NEEDS: tuple[Need, ...] = (
    Need("dataset.json with channel_names and labels", lambda seen: seen.named("dataset.json")),
    Need("imagesTr with a file per channel (case_0000.nii.gz)", lambda seen: seen.named("imagestr")),
    Need("labelsTr with a mask per case", lambda seen: seen.named("labelstr")),
)
_CHANNEL = re.compile(r"^(.+)_(\d{4})$")


def sniff(path: Path) -> str | None:
    """A folder with ``dataset.json``, ``labelsTr``, and ``imagesTr`` whose names end in a channel's number."""
    if not (path / "imagesTr").is_dir() or not (path / "labelsTr").is_dir() or not read_json(path / "dataset.json"):
        return None
    items = find_images(path / "imagesTr")
    masks = {item.name for item in find_images(path / "labelsTr", masks=True)}
    if not all(_CHANNEL.match(item.name) for item in items) or not any(item.name[:-5] in masks for item in items):
        return None  # the Decathlon's masks have the whole names of their images
    return "dataset.json, labelsTr, and imagesTr with a file per channel (_0000)"


def read(path: Path, task: TaskName | None) -> Manifest:
    """All cases of ``imagesTr`` and ``labelsTr``; ``imagesTs`` has no labels and is not used.

    Raises:
        DatasetError: when images, channels or masks are missing, or labels are of a kind that Osler does not have.
    """
    check_task(task, ("segment",), "masks")
    content = read_json(path / "dataset.json")
    channels = channel_names_of(content)
    masks = {item.name: item for item in find_images(path / "labelsTr", masks=True)}
    refuse_lossy([item.path for item in masks.values()])
    images: dict[str, dict[str, Item]] = defaultdict(dict)
    for item in find_images(path / "imagesTr"):
        stem, number = item.name[:-5], int(item.name[-4:])
        images[stem][channels.get(number, f"{number:04d}")] = item
    _check_complete(images, masks, channels)
    cases = sorted(images, key=natural)
    records = tuple(
        Record(
            name=name,
            images={channel: reference(images[case][channel], path) for channel in channels.values()},
            mask=reference(masks[case], path),
        )
        for name, case in zip(short_names(cases), cases, strict=True)
    )
    return Manifest(
        name=str(content.get("name") or path.name),
        root=path,
        layout=NAME,
        labels=labels_of(content),
        records=records,
        modality=modality_of(list(channels.values())),
        channels=tuple(channels.values()),
    )


def channel_names_of(content: dict[str, Any]) -> dict[int, str]:
    """Channel names by number, in order."""
    named = content.get("channel_names") or content.get("modality")
    if not isinstance(named, dict) or not all(str(key).isdecimal() for key in named):
        raise DatasetError("dataset.json has no channel_names", remedy='add them, for example {"0": "CT"}')
    ordered = {int(key): str(name) for key, name in sorted(named.items(), key=lambda pair: int(pair[0]))}
    twice = len(set(ordered.values())) < len(ordered)
    return {number: f"{name} {number}" if twice else name for number, name in ordered.items()}


def _check_complete(images: dict[str, dict[str, Item]], masks: dict[str, Item], channels: dict[int, str]) -> None:
    expected = set(channels.values())
    for case, found in images.items():
        if set(found) != expected:
            wrong = sorted(expected ^ set(found))[0]
            raise DatasetError(
                f"{case} has channels {', '.join(sorted(found))}, and dataset.json names {', '.join(sorted(expected))}",
                remedy=f"add or remove the file of channel {wrong!r}",
            )
    for one, other, what in (
        (images, masks, "no mask in labelsTr"),
        (masks, images, "a mask but no image in imagesTr"),
    ):
        missing = sorted(set(one) - set(other), key=natural)
        if missing:
            raise DatasetError(f"{missing[0]} has {what}", remedy="add the missing file, or remove the other one")


def labels_of(content: dict[str, Any]) -> LabelSet:
    """The labels of a ``dataset.json`` of either version; of overlapping regions the single values.

    Raises:
        NoLabels, DatasetError: when there are none, or of a kind that Osler does not have.
    """
    try:
        return _labels(content)
    except (TypeError, ValueError) as error:
        raise NoLabels(
            f"dataset.json names labels by what is no whole number ({str(error)[:100]})",
            remedy='write, for example, {"background": 0, "tumour": 1}',
        ) from error


def _labels(content: dict[str, Any]) -> LabelSet:
    labels = content.get("labels")
    if not isinstance(labels, dict) or not labels:
        raise NoLabels("dataset.json has no labels", remedy='add them, for example {"background": 0, "tumour": 1}')
    if all(str(key).isdecimal() for key in labels):  # version 1: {"1": "tumour"}
        labels = {str(name): int(value) for value, name in labels.items()}
    if "ignore" in labels:
        raise DatasetError(
            "dataset.json has an 'ignore' label, which Osler does not know yet",
            remedy="label these voxels, or leave these cases out",
        )
    if any(isinstance(value, list) for value in labels.values()):
        labels = _regions(labels)
    pairs = sorted((int(value), name) for name, value in labels.items() if int(value) != 0)
    return LabelSet(kind="mask", labels=tuple(Label(name=name, value=value) for value, name in pairs))


def _regions(labels: dict[str, Any]) -> dict[str, int]:
    """Overlapping regions as the single values that the files hold: each is named by the smallest region around it."""
    regions = {name: value if isinstance(value, list) else [value] for name, value in labels.items()}
    found = {}
    for value in sorted({int(v) for values in regions.values() for v in values} - {0}):
        holding = [name for name, values in regions.items() if value in values]
        smallest = min(holding, key=lambda name: len(regions[name]))
        found[smallest if len(regions[smallest]) == 1 else f"{smallest} ({value})"] = value
    return found
