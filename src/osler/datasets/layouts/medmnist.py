"""MedMNIST archives: ``.npz`` with ``train_images``, ``train_labels``, ``val_...``, ``test_...``; 2D and 3D.

The names of the classes are not in the file. Those of the published sets are listed here by file name (MedMNIST v2,
https://medmnist.com); another archive of the same form gets "class 0", "class 1" ...
"""

from __future__ import annotations

import re
import zipfile
from pathlib import Path

import numpy as np

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import KIND_OF_TASK, check_task
from osler.datasets.layouts.files import visible
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Manifest, Record, Split, Target
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, StudyError, TooFew, UsageError
from osler.studies.formats.base import reading
from osler.studies.formats.npz import load_array, shape_of
from osler.studies.geometry import Array

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "medmnist"
NEEDS: tuple[Need, ...] = (
    Need("one .npz", lambda seen: seen.files.get(".npz") == 1),
    Need("train_images and train_labels in it", lambda seen: False),
)
_SPLITS: dict[str, Split] = {"train": "train", "val": "validation", "test": "test"}
_ORGANS = "bladder|femur-left|femur-right|heart|kidney-left|kidney-right|liver|lung-left|lung-right|pancreas|spleen"
_CLASSES = {
    "pathmnist": "adipose|background|debris|lymphocytes|mucus|smooth muscle|normal colon mucosa|"
    "cancer-associated stroma|colorectal adenocarcinoma epithelium",
    "chestmnist": "atelectasis|cardiomegaly|effusion|infiltration|mass|nodule|pneumonia|pneumothorax|consolidation|"
    "edema|emphysema|fibrosis|pleural thickening|hernia",
    "dermamnist": "actinic keratoses and intraepithelial carcinoma|basal cell carcinoma|benign keratosis-like lesions|"
    "dermatofibroma|melanoma|melanocytic nevi|vascular lesions",
    "octmnist": "choroidal neovascularization|diabetic macular edema|drusen|normal",
    "pneumoniamnist": "normal|pneumonia",
    "retinamnist": "grade 0|grade 1|grade 2|grade 3|grade 4",
    "breastmnist": "malignant|normal or benign",
    "bloodmnist": "basophil|eosinophil|erythroblast|immature granulocyte|lymphocyte|monocyte|neutrophil|platelet",
    "tissuemnist": "collecting duct or connecting tubule|distal convoluted tubule|glomerular endothelial cell|"
    "interstitial endothelial cell|leukocyte|podocyte|proximal tubule segment|thick ascending limb",
    "organamnist": _ORGANS,
    "organcmnist": _ORGANS,
    "organsmnist": _ORGANS,
    "organmnist3d": "liver|kidney-right|kidney-left|femur-right|femur-left|bladder|heart|lung-right|lung-left|"
    "spleen|pancreas",
    "nodulemnist3d": "benign|malignant",
    "adrenalmnist3d": "normal|hyperplasia",
    "fracturemnist3d": "buckle rib fracture|nondisplaced rib fracture|displaced rib fracture",
    "vesselmnist3d": "vessel|aneurysm",
    "synapsemnist3d": "inhibitory synapse|excitatory synapse",
}
_ORDINAL = ("retinamnist",)
_MOST_CLASSES = 10_000


def sniff(path: Path) -> str | None:
    """An ``.npz`` with images and labels by split, or a folder that holds one such file."""
    file = _archive(path)
    return f"{file.name} has images and labels by split" if file else None


def _archive(path: Path) -> Path | None:
    listed = visible(path) if path.is_dir() else [path]
    files = [p for p in listed if p.suffix.lower() == ".npz" and p.is_file()]
    if len(files) != 1 or not zipfile.is_zipfile(files[0]):
        return None
    try:
        keys = _keys(files[0])
    except StudyError:  # whoever reads it says what is wrong with it
        return None
    return files[0] if {"train_images", "train_labels"} <= keys else None


def read(path: Path, task: TaskName | None) -> Manifest:
    """One record per row of every split's images.

    Raises:
        DatasetError: when images and labels do not fit each other, or the archive is damaged.
        UsageError: when the labels cannot answer ``task``.
    """
    file = _archive(path)
    if file is None:
        raise DatasetError(f"{path} is no MedMNIST archive", remedy="it must hold train_images and train_labels")
    counts, labels = _load(file)
    several = next(iter(labels.values())).shape[1] > 1
    known = re.sub(r"_\d+$", "", file.stem.lower())
    possible: tuple[TaskName, ...] = ("multilabel",) if several else ("classify", "ordinal", "regress")
    if known in _ORDINAL:
        possible = ("ordinal", "classify", "regress")
    task = check_task(task, possible, "several labels per image" if several else "one label per image")
    records = tuple(
        Record(
            name=f"{key}-{row:06d}",
            images={"image": ImageRef(path=file.name, key=f"{key}_images", index=row)},
            target=_target(labels[key][row], task),
            split=_SPLITS[key],
        )
        for key, count in counts.items()
        for row in range(count)
    )
    return Manifest(
        name=file.stem, root=file.parent, layout=NAME, labels=_label_set(labels, task, known), records=records
    )


def _load(file: Path) -> tuple[dict[str, int], dict[str, Array]]:
    """Images and labels (N, L) per split; of the images only their number, from the header."""
    counts, labels = {}, {}
    try:
        for key in _SPLITS:
            if f"{key}_images" in _keys(file):
                counts[key], labels[key] = _split(file, key)
    except (StudyError, UsageError) as error:
        raise DatasetError(
            f"{file.name} is damaged or its labels do not fit its images ({error.problem})", remedy="get the file again"
        ) from error
    return counts, labels


def _keys(file: Path) -> set[str]:
    with reading(file, "a NumPy archive"), zipfile.ZipFile(file) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def _split(file: Path, key: str) -> tuple[int, Array]:
    with reading(file, "a NumPy archive"):
        shape = shape_of(file, f"{key}_images")
        labels = load_array(file, f"{key}_labels")
        if len(shape) not in (3, 4, 5) or shape[0] < 1:
            raise ValueError(f"{key}_images has the shape {shape}")
        if labels.dtype.kind not in "iufb" or not np.isfinite(labels).all():
            raise ValueError(f"{key}_labels holds {labels.dtype} values that are no labels")
        return shape[0], labels.reshape(shape[0], -1)


def _target(row: Array, task: TaskName) -> Target:
    if task == "multilabel":
        return tuple(int(v) for v in row)
    return float(row[0]) if task == "regress" else int(row[0])


def _label_set(labels: dict[str, Array], task: TaskName, known: str) -> LabelSet:
    kind = KIND_OF_TASK[task]
    if kind == "number":
        return LabelSet(kind=kind)
    values = np.concatenate(list(labels.values()))
    outputs = values.shape[1] if kind == "several" else int(values.max()) + 1
    if outputs > _MOST_CLASSES:
        raise DatasetError(f"the labels go up to {values.max()}, which are no classes", remedy="use the task regress")
    if values.min() < 0 or (kind == "several" and values.max() > 1):
        raise DatasetError("the labels are not counted from 0, or not 0 and 1 for several", remedy="renumber them")
    if outputs < 2:
        raise TooFew("there is only one class, 'class 0'", remedy="bring studies of at least two classes")
    names = _CLASSES[known].split("|") if known in _CLASSES else []
    if len(names) != outputs:
        names = [f"class {n}" for n in range(outputs)]
    return LabelSet(kind=kind, labels=tuple(Label(name=name, value=value) for value, name in enumerate(names)))
