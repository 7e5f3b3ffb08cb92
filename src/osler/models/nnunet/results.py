"""A results folder of nnU-Net v2: which model is meant, its JSON files, its checkpoints."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from osler.errors import ModelError, PathNotFound, UsageError

__all__ = ["CheckpointName", "Results", "choose_checkpoints", "find_results"]

CheckpointName = Literal["final", "best"]
_DEPTH = 3  # nnUNet_results / Dataset004_X / Trainer__Plans__configuration


@dataclass(frozen=True)
class Results:
    """One trained configuration: ``folder`` holds plans.json, dataset.json and a folder per fold.

    ``folds`` maps "0", "1" ... or "all" to the fold's folder.
    """

    folder: Path
    configuration: str
    plans: dict[str, Any]
    dataset: dict[str, Any]
    folds: dict[str, Path]


def find_results(path: str | Path, configuration: str | None = None) -> Results:
    """Find the one trained model in or below a folder.

    Args:
        path: the model's own folder (Trainer__Plans__configuration), the data set's above it, or nnUNet_results.
        configuration: "2d", "3d_fullres" ...; needed where there are several, or where the folder was renamed.

    Raises:
        PathNotFound: when there is no such folder.
        UsageError: when it holds no trained model, or several that fit.
        ModelError: when a JSON file cannot be read.
    """
    root = Path(path)
    if not root.is_dir():
        hint = "unzip it first" if root.suffix == ".zip" else "give the folder that nnUNetv2_train wrote"
        raise PathNotFound(f"no folder of nnU-Net results at {root}", remedy=hint)
    candidates = [folder for folder in _below(root, _DEPTH) if _is_model(folder)]
    if not candidates:
        missing = "plans.json" if not (root / "plans.json").is_file() else "a fold_ folder or dataset.json"
        raise UsageError(
            f"{root} holds no trained nnU-Net v2 model ({missing} is missing)",
            remedy="give the folder named Trainer__Plans__configuration, with plans.json, dataset.json and fold_0",
        )
    fitting = [folder for folder in candidates if configuration in (None, _configuration(folder))]
    if len(candidates) == 1 and not _configuration(candidates[0]):
        fitting = candidates
    if len(fitting) != 1:
        listed = ", ".join(str(folder.relative_to(root)) for folder in candidates[:8])
        raise UsageError(
            f"{root} holds {len(candidates)} trained models, of which {len(fitting)} fit: {listed}",
            remedy="give one of these folders, or as --configuration the last part of its name",
        )
    folder = fitting[0]
    name = configuration or _configuration(folder)
    if not name:
        raise UsageError(
            f"the name of {folder} does not say which configuration was trained", remedy="give --configuration"
        )
    folds = {place.name.removeprefix("fold_"): place for place in sorted(folder.glob("fold_*")) if place.is_dir()}
    return Results(folder, name, _json(folder / "plans.json"), _json(folder / "dataset.json"), folds)


def choose_checkpoints(
    results: Results, folds: Sequence[str] = (), checkpoint: CheckpointName | None = None
) -> dict[str, Path]:
    """The checkpoint of each fold.

    Args:
        results: where they lie.
        folds: "0", "1", "all"; by default those with a number, or else "all", as nnU-Net does it.
        checkpoint: "final" or "best"; by default "final" where every fold has it, else "best".

    Raises:
        UsageError: when a fold or its checkpoint is missing.
    """
    numbered = [fold for fold in results.folds if fold.isdigit()]
    wanted = list(dict.fromkeys(folds)) or numbered or list(results.folds)
    missing = [fold for fold in wanted if fold not in results.folds]
    if missing:
        raise UsageError(
            f"{results.folder} has no fold {', '.join(missing)}", remedy=f"give --fold {' or '.join(results.folds)}"
        )
    names: tuple[CheckpointName, ...] = (checkpoint,) if checkpoint else ("final", "best")
    for name in names:
        paths = {fold: results.folds[fold] / f"checkpoint_{name}.pth" for fold in wanted}
        if all(path.is_file() for path in paths.values()):
            return paths
    there = {fold: sorted(p.name for p in results.folds[fold].glob("checkpoint_*.pth")) for fold in wanted}
    listed = "; ".join(f"fold {fold}: {', '.join(found) or 'none'}" for fold, found in there.items())
    raise UsageError(
        f"not every fold has checkpoint_{' or checkpoint_'.join(names)}.pth ({listed})",
        remedy="finish the training of these folds, or choose with --fold and --checkpoint",
    )


def _below(root: Path, depth: int) -> list[Path]:
    """The folder itself and, where it is no model, the folders below it."""
    if depth == 0 or _is_model(root):
        return [root]
    return [root, *(found for one in sorted(root.iterdir()) if one.is_dir() for found in _below(one, depth - 1))]


def _is_model(folder: Path) -> bool:
    files = all((folder / name).is_file() for name in ("plans.json", "dataset.json"))
    return files and any(place.is_dir() for place in folder.glob("fold_*"))


def _configuration(folder: Path) -> str:
    """The last part of Trainer__Plans__configuration; "" for a folder of another name."""
    parts = folder.name.split("__")
    return parts[2] if len(parts) == 3 else ""


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error})", remedy="copy it again from where it came") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is not a JSON object", remedy="copy it again from where it came")
    return content
