"""Ways in which datasets lie on disk: one module per layout (see ``base``), the one list, and ``open_dataset``."""

from __future__ import annotations

from pathlib import Path

from osler.datasets.dataset import Dataset
from osler.datasets.layouts import (
    bids,
    class_folders,
    coco_json,
    csv_manifest,
    decathlon,
    dicom_tree,
    image_mask_folders,
    masks_per_class,
    medmnist,
    nnunet,
    parquet_manifest,
    signals,
    tables,
    voc,
)
from osler.datasets.layouts.base import Layout
from osler.datasets.layouts.masks import check_grids
from osler.datasets.layouts.patients import NO_PATIENTS, propose_pattern
from osler.datasets.layouts.patients import with_patients as _with_patients
from osler.datasets.layouts.unknown import unknown_layout
from osler.datasets.layouts.written import write_manifest
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, PathNotFound, Unknown, UnknownLayout

__all__ = [
    "LAYOUTS",
    "NO_PATIENTS",
    "Layout",
    "list_dataset",
    "open_dataset",
    "propose_pattern",
    "write_manifest",
]

# In the order in which they are asked: what a file says comes before what folder names suggest.
LAYOUTS: tuple[Layout, ...] = (
    csv_manifest,
    parquet_manifest,
    medmnist,
    signals,
    nnunet,
    decathlon,
    bids,
    coco_json,
    voc,
    dicom_tree,
    masks_per_class,
    image_mask_folders,
    class_folders,
    tables,
)


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
        path: a folder or a file (``.csv``, ``.parquet``, ``.npz``, COCO's ``.json``).
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
    if dataset.manifest.flaws:
        flaw = dataset.manifest.flaws[0]
        more = f", and {flaw.count - 1} more like it (osler inspect lists them)" if flaw.count > 1 else ""
        raise DatasetError(f"{flaw.first}{more}", remedy=flaw.remedy)
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
    """``open_dataset`` for inspection, which reads every case and tells all faults: grids are not compared here, and
    flaws of the manifest are left to the caller."""
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
            raise unknown_layout(path, LAYOUTS)
        return found
    by_name = {one.NAME: one for one in LAYOUTS}
    if layout not in by_name:
        raise Unknown(f"there is no layout {layout!r}", remedy=f"the layouts are {', '.join(by_name)}")
    if by_name[layout].sniff(path) is None:
        raise UnknownLayout(
            f"{path} is not laid out as {layout!r}", remedy="leave the layout out to have it recognised"
        )
    return by_name[layout]
