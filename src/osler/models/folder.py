"""The model folder: the only thing that passes from learning to inference.

    MODEL/
      model.json            ``ModelInfo``: schema version, what it is for, members, SHA-256 of every other file
      plan.json             the ``Plan``
      performance.json      what it scored on cases that training and calibration never saw, with intervals
      parity.json           ``ParityRecord``: which compiled forms answer as float32 does; absent when never compared
      card.md               the model card
      weights/member0.safetensors
      graphs/member0.xml + .bin (OpenVINO IR), graphs/member0.onnx, and where it was quantised graphs/member0.int8.xml
      coarse/               where there is a coarse network: a model folder of its own

Safetensors, JSON, Markdown and compiled graphs only: no pickle, nothing executable.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from osler.datasets.plan import Plan
from osler.errors import ModelError, PathNotFound
from osler.models.parity import ParityRecord

__all__ = [
    "INT8_SUFFIX",
    "MODEL_VERSION",
    "Calibration",
    "Check",
    "Coarse",
    "DataSummary",
    "Lost",
    "Member",
    "Model",
    "ModelInfo",
    "seal",
    "sha256_of",
]

MODEL_VERSION = 2
"""2 added ``DataSummary.calibrated``; version 1 is read."""
INT8_SUFFIX = ".int8.xml"
"""Under which a member's ``graphs`` has the quantised OpenVINO graph."""
_FEWEST_CASES = 5  # with a target, of the test split, before a coarse network is used
_MOST_VOXELS = 0.002  # of a label, that its bound may lose there
_MOST_LESIONS = 0.01  # connected parts of a label, wholly
_Parsed = TypeVar("_Parsed", bound=BaseModel)
_ALLOWED_SUFFIXES = {".json", ".md", ".safetensors", ".xml", ".bin", ".onnx"}


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Member(_Frozen):
    """One trained network: paths relative to the folder. ``fold`` is None when there was one split only.

    Where ``head`` is not "", the graphs give ``features`` beside ``logits``, and ``<head>.weight`` and ``<head>.bias``
    of the weights make the second of the first.
    """

    weights: str
    graphs: dict[str, str]
    head: str = ""
    fold: int | None = None
    steps: int = 0


class Calibration(_Frozen):
    """How logits become probabilities: ``softmax(logits / temperature)`` (sigmoid for several labels and grades).

    For a number, ``half_width`` is the half-width of the 95 % prediction interval learnt on the validation split.
    ``cases`` is how many cases it was learnt on; 0 means that nothing was calibrated.
    """

    temperature: float = 1.0
    half_width: float | None = None
    cases: int = 0


class DataSummary(_Frozen):
    """On what the model was trained and measured: counts, never names. ``split_by`` "given": the split that it was
    measured on came with the data; "unknown": the model was trained by another program and converted.

    ``seen`` and ``seen_patients`` are salted SHA-256 of the content of each training and calibration case and of each
    such patient's identifier, so that evaluation can leave out what the model has seen. ``calibrated`` are those of
    ``seen`` that were in a validation split, which compressing is judged on (of a cross-validation: in that of any
    fold, so that members of other folds have learnt from them). ``held_out`` are, of a
    cross-validation, those of the cases which the members of each fold have never seen, by the fold's number.
    """

    name: str
    modality: str = ""
    train: int = 0
    validation: int = 0
    test: int = 0
    patients: int | None = None
    split_by: Literal["patient", "image", "given", "unknown"] = "patient"
    salt: str = ""
    seen: tuple[str, ...] = ()
    seen_patients: tuple[str, ...] = ()
    calibrated: tuple[str, ...] = ()
    held_out: dict[int, tuple[str, ...]] = {}


class Lost(_Frozen):
    """What of one label lies outside the bound of the coarse pass, counted on labelled cases.

    ``voxels`` and ``lesions`` (connected parts) are in ``cases`` cases of ``patients`` patients; ``voxels_lost`` lie
    outside, and of the lesions ``lesions_lost`` wholly and ``lesions_cut`` in part. ``voxel_interval`` and
    ``lesion_interval`` are 95 % intervals over patients of the shares that are lost; None with one patient.
    """

    cases: int
    patients: int
    voxels: int
    voxels_lost: int
    voxel_interval: tuple[float, float] | None = None
    lesions: int
    lesions_lost: int
    lesions_cut: int
    lesion_interval: tuple[float, float] | None = None


class Coarse(_Frozen):
    """The coarse network: ``folder`` is the model folder that it lies in; ``threshold`` of its probability of anything
    but background, and ``margin`` (mm; its voxels where the spacing is unknown) around what reaches it, make the bound.

    ``windows`` is the mean share of the fine network's windows that touched the bound of the validation cases;
    ``validation`` (on which threshold and margin were chosen) and ``test`` say by label what is lost. It is used only
    where there is no ``problem``.
    """

    folder: str = "coarse"
    threshold: float
    margin: float
    windows: float
    validation: dict[str, Lost]
    test: dict[str, Lost] = {}

    @property
    def problem(self) -> str:
        """Why this record does not allow that it is used; "" when it does.

        The test cases, on which nothing was chosen, must show that it is safe: at least 5 of them with a target, every
        label that validation has among them, and of none more than 0.2 % of the voxels (what a model may lose in Dice
        to become faster) or more than 1 % of the connected parts outside the bound.
        """
        if max((lost.cases for lost in self.test.values()), default=0) < _FEWEST_CASES:
            return f"fewer than {_FEWEST_CASES} test cases have a target, so what it loses is not known"
        unknown = sorted(set(self.validation) - set(self.test))
        if unknown:
            return f"no test case has {unknown[0]}, so what it loses of it is not known"
        for name, lost in self.test.items():
            voxels, lesions = lost.voxels_lost / lost.voxels, lost.lesions_lost / lost.lesions
            if voxels > _MOST_VOXELS or lesions > _MOST_LESIONS:
                return f"of the test cases it loses {voxels:.2%} of {name} and {lesions:.1%} of its parts wholly"
        return ""


class ModelInfo(_Frozen):
    """``model.json``. ``files`` maps each path (relative, POSIX) to its SHA-256; model.json itself is not
    listed; ``digest`` is the SHA-256 of its other fields."""

    schema_version: int = MODEL_VERSION
    osler_version: str
    name: str
    created: str
    intended_use: str
    not_a_medical_device: str = "Research use only. Not a medical device; not for diagnosis or treatment."
    members: tuple[Member, ...]
    calibration: Calibration = Calibration()
    coarse: Coarse | None = None
    data: DataSummary
    lineage: dict[str, Any] = {}
    files: dict[str, str] = {}
    digest: str = ""


class Check(_Frozen):
    """What ``verify`` found: the faults, empty when the folder is whole."""

    files: int
    faults: tuple[str, ...]


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def seal(folder: Path, info: ModelInfo) -> Model:
    """Hash every file in ``folder`` and write ``model.json`` last, atomically: a folder without it is unfinished.

    Raises:
        ModelError: when the folder holds a file of a kind that a model folder may not hold.
    """
    files = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p != folder / "model.json"):
        if path.suffix not in _ALLOWED_SUFFIXES:
            raise ModelError(f"a model folder may not hold {path.name}", remedy="remove it and write the model again")
        files[path.relative_to(folder).as_posix()] = sha256_of(path)
    record = info.model_copy(update={"files": files}).model_dump(mode="json")
    text = json.dumps({**record, "digest": _digest_of(record)}, indent=1)
    temporary = folder / "model.json.partial"
    temporary.write_text(text)
    os.replace(temporary, folder / "model.json")
    return Model.open(folder)


class Model:
    """A model folder opened for reading."""

    def __init__(self, path: Path, info: ModelInfo, plan: Plan) -> None:
        self.path = path
        self.info = info
        self.plan = plan

    def __repr__(self) -> str:
        return f"Model({str(self.path)!r}, {self.plan.task}, {len(self.info.members)} member(s))"

    @classmethod
    def open(cls, path: str | Path) -> Model:
        """Read ``model.json`` and ``plan.json`` (the other files are checked by ``verify`` and when they are used).

        Raises:
            PathNotFound: when there is no such folder.
            ModelError: when it is no model folder, is damaged, or was written by a newer Osler.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise PathNotFound(
                f"no model folder at {folder}", remedy="give the folder that osler train or osler convert wrote"
            )
        if not (folder / "model.json").is_file():
            raise ModelError(
                f"{folder} is not a finished model folder (it has no model.json)",
                remedy="give the folder that osler train wrote, or run the training again to finish it",
            )
        info = _read_json(folder / "model.json", ModelInfo)
        if info.digest != _digest_of(json.loads((folder / "model.json").read_text())):
            raise ModelError(f"model.json of {folder} was changed", remedy="restore the model folder")
        listed = info.files.get("plan.json")
        if not (folder / "plan.json").is_file() or listed != sha256_of(folder / "plan.json"):
            raise ModelError(f"plan.json of {folder} is missing or was changed", remedy="restore the model folder")
        return cls(folder, info, _read_json(folder / "plan.json", Plan))

    def file(self, relative: str) -> Path:
        """A file of the model, checked against its hash.

        Raises:
            ModelError: when it is not listed, missing or changed.
        """
        path = self.path / relative
        inside = path.resolve().is_relative_to(self.path.resolve())  # a forged list must not lead out of the folder
        if (
            relative not in self.info.files
            or not inside
            or not path.is_file()
            or sha256_of(path) != self.info.files[relative]
        ):
            raise ModelError(f"{relative} of {self.path} is missing or was changed", remedy="restore the model folder")
        return path

    def graph(self, member: int, suffix: str) -> Path:
        """The graph (or weights, for ``.safetensors``) of one member, checked; for OpenVINO's its ``.bin`` too.

        Raises:
            ModelError: when the model has no graph of that kind.
        """
        entry = self.info.members[member]
        if suffix == ".safetensors":
            return self.file(entry.weights)
        if suffix not in entry.graphs:
            raise ModelError(
                f"{self.path} holds no {suffix} graph", remedy=f"it holds {', '.join(entry.graphs) or 'none'}; use that"
            )
        path = self.file(entry.graphs[suffix])
        if path.suffix == ".xml":
            self.file(str(Path(entry.graphs[suffix]).with_suffix(".bin").as_posix()))
        return path

    def coarse(self) -> Model | None:
        """The model folder of the coarse network; None where there is none.

        Raises:
            ModelError: when it is missing or was changed.
        """
        if self.info.coarse is None:
            return None
        self.file(f"{self.info.coarse.folder}/model.json")
        return Model.open(self.path / self.info.coarse.folder)

    def performance(self) -> dict[str, Any]:
        """``performance.json``: the figures with their intervals; empty when the model was never evaluated."""
        if "performance.json" not in self.info.files:
            return {}
        loaded: dict[str, Any] = json.loads(self.file("performance.json").read_text())
        return loaded

    def parity(self) -> ParityRecord | None:
        """``parity.json``: which compiled forms may be run; None when they were never compared with float32.

        Raises:
            ModelError: when it was changed, is damaged, or was written by a newer Osler.
        """
        if "parity.json" not in self.info.files:
            return None
        return _read_json(self.file("parity.json"), ParityRecord)

    def verify(self) -> Check:
        """Hash every file and compare; unlisted files and files of other kinds are faults too."""
        faults = []
        for relative, digest in self.info.files.items():
            path = self.path / relative
            if not path.is_file():
                faults.append(f"{relative} is missing")
            elif sha256_of(path) != digest:
                faults.append(f"{relative} was changed")
            elif path.suffix not in _ALLOWED_SUFFIXES:
                faults.append(f"{relative} is of a kind that a model folder may not hold")
        present = {p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()}
        faults += [f"{extra} is not listed" for extra in sorted(present - set(self.info.files) - {"model.json"})]
        return Check(files=len(self.info.files), faults=tuple(faults))


def _digest_of(record: dict[str, Any]) -> str:
    """SHA-256 of all fields but ``digest``, in a form that does not depend on white space or order."""
    rest = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _read_json(path: Path, kind: type[_Parsed]) -> _Parsed:
    try:
        raw = json.loads(path.read_text())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error})", remedy="restore the model folder") from error
    version = raw.get("schema_version", 0) if isinstance(raw, dict) else 0
    readable = kind.model_fields["schema_version"].default
    if version > readable:
        raise ModelError(
            f"{path} has schema version {version}, newer than this Osler reads ({readable})",
            remedy="pip install --upgrade osler",
        )
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise ModelError(
            f"{path} is damaged ({error.error_count()} faults)", remedy="restore the model folder"
        ) from error
