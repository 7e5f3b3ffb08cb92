"""The answer to a path that no layout knows: what was seen, the nearest layout, and what that lacks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from osler.datasets.layouts.base import Layout
from osler.datasets.layouts.class_folders import holds_patients
from osler.datasets.layouts.files import subfolders, visible
from osler.datasets.layouts.needs import Seen, look
from osler.errors import DatasetError, NoLabels, UnknownLayout
from osler.studies.files import kind_of_file

__all__ = ["unknown_layout"]

_PAGE = "docs/reference/layouts.md"
_MOST_BELOW = 20


def unknown_layout(path: Path, layouts: Sequence[Layout]) -> DatasetError:
    """What is wrong with a path: empty, without labels, or something else; with what was seen.

    Args:
        path: for which no layout gave a reason.
        layouts: all of them.
    """
    if path.is_file():
        return UnknownLayout(
            f"{path.name} is not a dataset",
            remedy="give a folder, a manifest (.csv, .parquet), a COCO .json, or a MedMNIST .npz with train_images",
        )
    seen = look(path)
    if not seen.files:
        return DatasetError(f"the folder {path} is empty", remedy="give the folder that holds the studies")
    if any(kind_of_file(p) in ("image", "dicom") for p in visible(path)) or _has_only_images_folder(path):
        return NoLabels(
            f"{path} holds images but nothing that says what they show ({seen})",
            remedy="put each class into a folder of its own, masks into 'masks' beside 'images', or add a manifest.csv",
        )
    if seen.dicom and holds_patients(path):
        return NoLabels(
            f"each folder of {path} holds the DICOM studies of one patient, so that the folders are no classes, and "
            "nothing says what these studies show",
            remedy="put each class into a folder of its own around its patients, or add a manifest.csv",
        )
    return UnknownLayout(
        f"the layout of {path} is not known ({seen})", remedy=_below(path, layouts) or _nearest(seen, layouts)
    )


def _has_only_images_folder(path: Path) -> bool:
    return (path / "images").is_dir() and not (path / "dataset.json").exists() and len(visible(path)) == 1


def _below(path: Path, layouts: Sequence[Layout]) -> str:
    """A folder in it that is laid out as a data set, where there is one."""
    for folder in subfolders(path)[:_MOST_BELOW]:
        layout = next((one for one in layouts if one.sniff(folder)), None)
        if layout is not None:
            return f"name {folder} instead, which is laid out as {layout.NAME!r}"
    return ""


def _nearest(seen: Seen, layouts: Sequence[Layout]) -> str:
    """The layout of which the largest share is there (of equals the first), and what it lacks."""
    asked = [layout for layout in layouts if layout.NEEDS]
    best = max(asked, key=lambda layout: sum(n.met(seen) for n in layout.NEEDS) / len(layout.NEEDS))
    missing = [need.what for need in best.NEEDS if not need.met(seen)]
    if len(missing) == len(best.NEEDS):
        return f"nothing here looks like labelled images; {_PAGE} lists the layouts"
    lacks = f"it lacks {'; '.join(missing)}" if missing else "check its files against that page"
    return f"the nearest of the layouts in {_PAGE} is {best.NAME!r}: {lacks}"
