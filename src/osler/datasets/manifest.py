"""``Record`` and ``Manifest``: a dataset as a list of files with their answers. Plain data, no pixels."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.datasets.labels import LabelSet

__all__ = ["MANIFEST_VERSION", "Flaw", "ImageRef", "Layer", "Manifest", "Record", "Split", "Target"]

MANIFEST_VERSION = 1
Split = Literal["train", "validation", "test"]
Target = int | float | tuple[int | None, ...]


class Layer(BaseModel):
    """One file of a mask that lies in several: its voxels other than 0 have the label ``value``.

    Of a DICOM SEG or RTSTRUCT, ``structure`` is the number of the segment or region that has the label; it is laid onto
    the grid of the case's first image.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    value: int
    structure: int | None = None


class ImageRef(BaseModel):
    """One image on disk: a file or a folder (DICOM series), or one row of an array in an ``.npz``.

    A mask may also be one image's shapes in a COCO ``.json`` (``key`` is the image's id there), or lie in a file per
    label (``layers``).

    Args:
        path: absolute, or relative to the manifest's ``root``.
        key: name of the array in an ``.npz``.
        index: row of that array (0-based).
        channel: which channel (0-based) of a file that holds several images on one grid as its last axis.
        layers: the files of a mask that has one per label; ``path`` is the first of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    path: str
    key: str | None = None
    index: int | None = None
    channel: int | None = None
    layers: tuple[Layer, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """Every file that it is made of."""
        return tuple(layer.path for layer in self.layers) or (self.path,)


class Record(BaseModel):
    """One case: its images by channel name, its answer, its patient and whatever columns came with it.

    ``target`` is None for masks (see ``mask``) and for cases without an answer. ``patient`` is None when unknown.
    ``columns`` holds every further manifest column, for subgroups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    images: dict[str, ImageRef]
    mask: ImageRef | None = None
    target: Target | None = None
    patient: str | None = None
    site: str | None = None
    split: Split | None = None
    columns: dict[str, str] = {}

    @property
    def answered(self) -> bool:
        """Whether there is something to learn from."""
        return self.mask is not None or self.target is not None


class Flaw(BaseModel):
    """One kind of thing for which a dataset is not used until it is repaired, and which inspection lists.

    Args:
        first: a sentence about the first case or file concerned.
        what: the same of all; "3 cases: " goes before it where ``cases`` are named.
        remedy: what to do.
        cases: the names of the records concerned, which have no answer or no image.
        count: how many cases or files it is about.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    first: str
    what: str
    remedy: str
    cases: tuple[str, ...] = ()
    count: int = 1


class Manifest(BaseModel):
    """All records of a dataset with its label set.

    ``layout`` names what recognised it; ``notes`` say how it understood what could be understood in several ways.
    ``patients`` says how patients are known: from the data ("given"), by a regular expression ("pattern"), or not
    ("unknown": near-duplicates are kept together and every page says so). ``patients_declined``: somebody decided that
    the names say nothing of patients, so that no pattern is proposed again.
    ``flaws`` are why it may be inspected and not used.
    ``dealt`` names the splits that Osler dealt out; those that came with the data are not among them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = MANIFEST_VERSION
    name: str
    root: Path
    layout: str
    labels: LabelSet
    records: tuple[Record, ...]
    modality: str = ""
    channels: tuple[str, ...] = ("image",)
    patients: Literal["given", "pattern", "unknown"] = "unknown"
    proposed_pattern: str | None = None
    patients_declined: bool = False
    dealt: tuple[Split, ...] = ()
    notes: tuple[str, ...] = ()
    flaws: tuple[Flaw, ...] = ()
