"""Medical Segmentation Decathlon: ``dataset.json`` with a ``training`` list of images and labels.

An entry may be of any format that is read, a folder of one DICOM series too. Several modalities lie as the
fourth axis of one file; each becomes a channel with the name that dataset.json gives it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task
from osler.datasets.layouts.files import image_suffix, reference, short_names
from osler.datasets.layouts.masks import refuse_lossy
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels
from osler.studies.files import kind_of_file

__all__ = ["NAME", "NEEDS", "modality_of", "read", "read_json", "sniff"]

NAME: str = "decathlon"
NEEDS: tuple[Need, ...] = (
    Need("dataset.json with a list 'training' of images and labels", lambda seen: seen.named("dataset.json")),
    Need("the folder imagesTr", lambda seen: seen.named("imagestr")),
    Need("the folder labelsTr", lambda seen: seen.named("labelstr")),
)
_LARGEST = 256 << 20  # bytes
_MR = ("mr", "t1", "t2", "flair", "adc", "dwi", "pd")
_CT = ("ct", "cect", "ncct")


def sniff(path: Path) -> str | None:
    """A folder with a ``dataset.json`` that lists training images one by one."""
    training = read_json(path / "dataset.json").get("training")
    if not isinstance(training, list) or not training or not isinstance(training[0], dict):
        return None
    return f"dataset.json lists {len(training)} training images with their labels"


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty when there is none, it cannot be read, is absurdly long, or is not an object."""
    if not path.is_file() or path.stat().st_size > _LARGEST:
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def modality_of(names: list[str]) -> str:
    """The DICOM code for the modality or the sequences that a ``dataset.json`` names; "" unless all agree."""
    codes = set()
    for name in (n.lower() for n in names):
        codes.add("CT" if name in _CT else "MR" if name.startswith(_MR) else "PT" if name in ("pet", "pt") else "")
    return codes.pop() if len(codes) == 1 else ""


def read(path: Path, task: TaskName | None) -> Manifest:
    """All training cases; the ``test`` list has no labels and is not used.

    Raises:
        DatasetError: when a listed file is missing or there are no labels.
    """
    check_task(task, ("segment",), "masks")
    content = read_json(path / "dataset.json")
    pairs = [_pair(path, entry) for entry in content["training"]]
    refuse_lossy([mask for _, mask in pairs])
    names = short_names([image.name[: -len(image_suffix(image.name)) or None] for image, _ in pairs])
    modalities = _modalities(content)
    records = tuple(
        Record(name=name, images=_channels(reference(image, path), modalities), mask=reference(mask, path))
        for name, (image, mask) in zip(names, pairs, strict=True)
    )
    name = str(content.get("name") or path.name)
    return Manifest(
        name=name,
        root=path,
        layout=NAME,
        labels=_labels(content),
        records=records,
        modality=modality_of(modalities),
        channels=tuple(records[0].images),
    )


def _modalities(content: dict[str, Any]) -> list[str]:
    """The names of the channels in the order of their numbers."""
    listed = dict(content.get("modality", {}))
    return [str(listed[key]) for key in sorted(listed, key=lambda k: (len(str(k)), str(k)))]


def _channels(image: ImageRef, modalities: list[str]) -> dict[str, ImageRef]:
    """One image; or, of several modalities, one reference per channel of the file."""
    if len(modalities) < 2:
        return {"image": image}
    names = modalities if len(set(modalities)) == len(modalities) else [f"{n:04}" for n in range(len(modalities))]
    return {name: image.model_copy(update={"channel": n}) for n, name in enumerate(names)}


def _pair(folder: Path, entry: Any) -> tuple[Path, Path]:
    if not isinstance(entry, dict) or not {"image", "label"} <= entry.keys():
        raise NoLabels(f"dataset.json lists {entry!r} without a label", remedy="list image and label of each case")
    found = [folder / str(entry[key]).removeprefix("./") for key in ("image", "label")]
    missing = [p for p in found if not os.path.exists(p)]  # of a name too long, too
    if missing:
        raise DatasetError(
            f"dataset.json lists {missing[0].relative_to(folder)}, which is not there",
            remedy="copy the missing file, or remove the case from dataset.json",
        )
    wrong = [p for p in found if not (p.is_dir() or kind_of_file(p) in ("image", "dicom"))]
    if wrong:
        raise DatasetError(
            f"dataset.json lists {wrong[0].relative_to(folder)}, which is no image that Osler reads",
            remedy="convert it to .nii.gz, or remove the case from dataset.json",
        )
    return found[0], found[1]


def _labels(content: dict[str, Any]) -> LabelSet:
    labels = content.get("labels")
    if not isinstance(labels, dict) or not all(str(value).removeprefix("-").isdecimal() for value in labels):
        raise NoLabels(
            "dataset.json has no labels by number",
            remedy='add them, for example "labels": {"0": "background", "1": "tumour"}',
        )
    named = sorted((int(value), str(name)) for value, name in labels.items())
    found = tuple(Label(name=name, value=value) for value, name in named if value != 0)
    if not found:
        raise NoLabels("dataset.json names no label but the background", remedy="add the labels that the masks hold")
    return LabelSet(kind="mask", labels=found)
