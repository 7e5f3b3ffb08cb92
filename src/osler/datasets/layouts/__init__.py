"""Ways in which datasets lie on disk: one module per layout (see ``base``), the one list, and ``open_dataset``."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from osler.datasets.dataset import Dataset
from osler.datasets.layouts import class_folders, csv_manifest, decathlon, image_mask_folders, medmnist, nnunet
from osler.datasets.layouts.base import Layout
from osler.datasets.layouts.files import image_suffix, visible
from osler.datasets.layouts.masks import check_grids
from osler.datasets.layouts.patients import NO_PATIENTS, propose_pattern
from osler.datasets.layouts.patients import with_patients as _with_patients
from osler.datasets.layouts.written import write_manifest_csv
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, NoLabels, PathNotFound, Unknown, UnknownLayout

__all__ = [
    "LAYOUTS",
    "NO_PATIENTS",
    "Layout",
    "list_dataset",
    "open_dataset",
    "propose_pattern",
    "write_manifest_csv",
]

# In the order in which they are asked: what a file says comes before what folder names suggest.
LAYOUTS: tuple[Layout, ...] = (csv_manifest, medmnist, nnunet, decathlon, image_mask_folders, class_folders)


def open_dataset(
    path: str | Path,
    *,
    task: TaskName | None = None,
    patient: str | None = None,
    layout: str | None = None,
    name: str | None = None,
) -> Dataset:
    """List a labelled dataset, whatever its layout, and look in the headers whether masks fit their images.

    Args:
        path: a folder or a file (``.csv``, ``.npz``).
        task: what is to be learnt; None takes what the data holds (a mask before anything else).
        patient: a regular expression that finds the patient in each case's name (first group, or the whole match);
            "none" treats every image as a patient of its own; None uses what the data says or its names propose.
        layout: the name of a layout on ``LAYOUTS``; None recognises it.
        name: what to call the dataset; None takes its folder's or file's name.

    Raises:
        PathNotFound: when there is nothing at ``path``.
        DatasetError: when the layout is not recognised (with what was seen), or the data is not usable, and why.
        GridMismatch: when masks do not lie on the grids of their images.
        UsageError: when ``task``, ``patient`` or ``layout`` does not fit the data.
    """
    dataset = list_dataset(path, task=task, patient=patient, layout=layout, name=name)
    check_grids(dataset.manifest)
    return dataset


def list_dataset(
    path: str | Path,
    *,
    task: TaskName | None = None,
    patient: str | None = None,
    layout: str | None = None,
    name: str | None = None,
) -> Dataset:
    """``open_dataset`` for inspection, which reads every case and tells all faults: grids are not compared here."""
    path = Path(path).expanduser()
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    manifest = _chosen(path, layout).read(path.resolve(), task)
    if name:
        manifest = manifest.model_copy(update={"name": name})
    return Dataset(_with_patients(manifest, patient))


def _chosen(path: Path, layout: str | None) -> Layout:
    if layout is None:
        found = next((one for one in LAYOUTS if one.sniff(path)), None)
        if found is None:
            raise _unknown(path)
        return found
    by_name = {one.NAME: one for one in LAYOUTS}
    if layout not in by_name:
        raise Unknown(f"there is no layout {layout!r}", remedy=f"the layouts are {', '.join(by_name)}")
    if by_name[layout].sniff(path) is None:
        raise UnknownLayout(
            f"{path} is not laid out as {layout!r}", remedy="leave the layout out to have it recognised"
        )
    return by_name[layout]


def _unknown(path: Path) -> DatasetError:
    """What is wrong with a path that no layout knows: empty, without labels, or something else; with what was seen."""
    if path.is_file():
        return UnknownLayout(
            f"{path.name} is not a dataset", remedy="give a folder, a CSV table, or a MedMNIST .npz with train_images"
        )
    seen = _seen(path)
    if not seen:
        return DatasetError(f"the folder {path} is empty", remedy="give the folder that holds the studies")
    if any(image_suffix(p.name) for p in visible(path)) or _has_only_images_folder(path):
        return NoLabels(
            f"{path} holds images but nothing that says what they show ({seen})",
            remedy="put each class into a folder of its own, masks into 'masks' beside 'images', or add a manifest.csv",
        )
    return UnknownLayout(f"the layout of {path} is not known ({seen})", remedy=f"the nearest is {_nearest(path)}")


def _has_only_images_folder(path: Path) -> bool:
    return (path / "images").is_dir() and not (path / "dataset.json").exists() and len(visible(path)) == 1


def _seen(path: Path) -> str:
    """Counts by suffix, per folder, two levels deep: "annotations: 289 .xml; images: 289 .jpg"."""
    parts = []
    for folder in [path, *(p for p in visible(path) if p.is_dir())][:7]:
        files = [p for p in visible(folder) if p.is_file()]
        counts = Counter(_kind_of(p) for p in files)
        folders = sum(p.is_dir() for p in visible(folder)) if folder != path else 0
        listed = [f"{count} {suffix}" for suffix, count in counts.most_common(3)]
        listed += [f"{folders} folders"] if folders else []
        if listed:
            parts.append(f"{folder.name}: {', '.join(listed)}" if folder != path else ", ".join(listed))
    return "; ".join(parts)


def _kind_of(path: Path) -> str:
    suffix = image_suffix(path.name) or path.suffix.lower()
    return "without suffix" if not suffix or suffix[1:].isdigit() else suffix  # the end of a UID is no suffix


def _nearest(path: Path) -> str:
    names = {p.name.lower() for p in visible(path)}
    if "dataset.json" in names or names & {"imagestr", "labelstr"}:
        return "the Decathlon's or nnU-Net's: dataset.json with imagesTr and labelsTr"
    if names & set(image_mask_folders.IMAGE_FOLDERS + image_mask_folders.MASK_FOLDERS):
        return "two folders 'images' and 'masks' with the same file names"
    if any(name.endswith((".csv", ".tsv", ".xlsx", ".json")) for name in names):
        return "a table 'manifest.csv' with the columns image and label (or mask)"
    return "a folder of images per class"
