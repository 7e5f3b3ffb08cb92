"""BIDS: images of ``sub-*`` (and ``ses-*``), with masks (``_mask``, ``_dseg``) beside them or in ``derivatives``.

DATA/sub-01/[ses-1/]anat/sub-01_T1w.nii.gz
DATA/derivatives/NAME/sub-01/anat/sub-01_dseg.nii.gz               the labels are in a dseg.tsv beside it or above
DATA/derivatives/NAME/sub-01/anat/sub-01_label-lesion_mask.nii.gz  a file per label (or per ``desc``)

Files may be of any format that is read (BIDS itself knows NIfTI, and pictures for microscopy). The rules are those of
the Brain Imaging Data Structure 1.9 (https://bids-specification.readthedocs.io, "Imaging derivatives"). A mask belongs
to the images of its subject whose other entities are the same and that lie on its grid; each suffix (T1w, FLAIR ...)
that every case has there is a channel. The subject is the patient; the columns of ``participants.tsv`` come along. DATA
may be one folder in ``derivatives`` where there are several with masks.
"""

from __future__ import annotations

import csv
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.answers import check_task, mask_labels
from osler.datasets.layouts.files import image_suffix, natural, read_text, reference, subfolders
from osler.datasets.layouts.masks import Grid, all_values, grid_mismatch, grid_of
from osler.datasets.layouts.needs import Need
from osler.datasets.manifest import ImageRef, Layer, Manifest, Record
from osler.datasets.mask_sources import OVERLAP_NOTE
from osler.datasets.plan import TaskName
from osler.errors import DatasetError, GridMismatch, NoLabels

__all__ = ["NAME", "NEEDS", "read", "sniff"]

NAME: str = "bids"
NEEDS: tuple[Need, ...] = (
    Need("a folder sub-<name> per patient", lambda seen: any(name.startswith("sub-") for name in seen.names)),
    Need("images in them, best as .nii.gz", lambda seen: seen.images > 0),
    Need("masks as sub-<name>..._mask.nii.gz or _dseg.nii.gz", lambda seen: any("_dseg." in n for n in seen.names)),
)
_STEM = re.compile(r"^(sub-[^_]+.*)_([A-Za-z0-9]+)$")
_OF_MASK = {"label", "desc", "atlas", "seg"}  # what tells masks of one image apart
_ORIGINAL = {"orig", "individual", "T1w", "T2w", "FLAIR"}  # spaces in which the subject's own image lies
_TAKEN = {"image", "mask", "label", "grade", "value", "target", "patient", "split", "case"}
_THREADS = 8
_SAME = 0.05
"""Voxels by which two files that share a grid may differ."""


@dataclass(frozen=True)
class _File:
    """A file's entities (``sub-01`` gives "sub": "01") and suffix."""

    path: Path
    entities: Mapping[str, str]
    suffix: str

    @property
    def case(self) -> tuple[tuple[str, str], ...]:
        """What a mask shares with its images."""
        kept = {k: v for k, v in self.entities.items() if k not in _OF_MASK}
        if kept.get("space") in _ORIGINAL:
            del kept["space"]
        return tuple(sorted(kept.items()))

    @property
    def variant(self) -> str:
        """What tells it from the other masks of its images: "label-lesion"."""
        return "_".join(f"{k}-{v}" for k, v in self.entities.items() if k in _OF_MASK)


def sniff(path: Path) -> str | None:
    """A folder with ``sub-*`` folders that hold ``sub-*`` files; or one below ``derivatives`` with such."""
    subjects = [f for f in subfolders(path) if f.name.startswith("sub-")]
    if not subjects:
        return None
    first = next((p for p in subjects[0].rglob("sub-*") if _parts(p)), None)
    return f"{len(subjects)} subjects (sub-*) with files such as {first.name}" if first else None


def read(path: Path, task: TaskName | None) -> Manifest:
    """Every mask with its images. A subject without a mask is left out, which is noted.

    Raises:
        NoLabels: when there are no masks.
        DatasetError: when several sets of masks could be meant, or a mask has no image.
        GridMismatch: when a mask lies on the grid of none of its images.
    """
    check_task(task, ("segment",), "BIDS masks")
    top = _top(path)
    folder, masks = _masks(path, top)
    chosen, notes = _choose(masks, folder)
    images = _images(path, top, folder)
    by_case = {case: _on_grid(case, found, images) for case, found in _grouped(chosen).items()}
    channels = _channels(by_case)
    labels, refs = _labels(by_case, top, folder)
    about = _participants(top)
    ordered = sorted(by_case, key=lambda case: natural(_name(case)))
    records = (_record(case, by_case[case], refs[case], channels, about, top) for case in ordered)
    without = {dict(case)["sub"] for case in images} - {dict(case)["sub"] for case in by_case}
    notes += [f"{len(without)} subjects have no mask and are not used"] if without else []
    notes += _left_out(by_case, channels)
    notes += [OVERLAP_NOTE] if any(ref.layers for ref in refs.values()) else []
    return Manifest(
        name=top.name,
        root=top,
        layout=NAME,
        labels=labels,
        records=tuple(records),
        modality="MR" if all(suffix in _MR for suffix in channels) else "",
        channels=tuple(channels.values()),
        patients="given",
        notes=tuple(notes),
    )


_MR = ("T1w", "T2w", "FLAIR", "T2starw", "PDw", "PDT2", "inplaneT1", "inplaneT2", "angio", "T1map", "T2map", "MP2RAGE")
_NO_IMAGES = ("mask", "dseg", "probseg", "bold", "dwi")  # answers, and series in time or direction
_Case = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class _Found:
    """The masks of a case, its images on their grid by suffix, and the suffixes that lie elsewhere."""

    masks: Sequence[_File]
    images: Mapping[str, _File]
    elsewhere: frozenset[str]


def _record(
    case: _Case,
    found: _Found,
    mask: ImageRef,
    channels: Mapping[str, str],
    about: Mapping[str, dict[str, str]],
    top: Path,
) -> Record:
    subject = f"sub-{dict(case)['sub']}"
    columns = about.get(subject, {})
    return Record(
        name=_name(case),
        images={channel: reference(found.images[suffix].path, top) for suffix, channel in channels.items()},
        mask=mask,
        patient=subject,
        site=columns.get("site") or None,
        columns=columns,
    )


def _top(path: Path) -> Path:
    """The data set that a folder of derivatives belongs to; else the folder itself."""
    if path.parent.name == "derivatives" and any(f.name.startswith("sub-") for f in subfolders(path.parent.parent)):
        return path.parent.parent
    return path


def _files(folder: Path) -> list[_File]:
    found = []
    for subject in (f for f in subfolders(folder) if f.name.startswith("sub-")):
        for file in sorted(subject.rglob("sub-*"), key=lambda p: natural(p.name)):
            match = _parts(file)
            if match and not any(part.startswith(".") for part in file.relative_to(folder).parts):
                pairs = dict(part.split("-", 1) for part in match[1].split("_") if "-" in part)
                found.append(_File(file, pairs, match[2]))
    return found


def _parts(file: Path) -> re.Match[str] | None:
    """Entities and suffix of an image file's name; None for any other (.json, .tsv, folders)."""
    suffix = image_suffix(file.name)
    return _STEM.match(file.name[: -len(suffix)].removesuffix(".ome")) if suffix and file.is_file() else None


def _masks(path: Path, top: Path) -> tuple[Path, list[_File]]:
    """The one folder with masks, and these."""
    folders = [path] if path != top else [path, *subfolders(path / "derivatives")]
    found = {f: [one for one in _files(f) if one.suffix in ("mask", "dseg")] for f in folders}
    having = [f for f in folders if found[f]]
    if not having:
        raise NoLabels(
            f"{path} is a BIDS data set without masks",
            remedy="put them into derivatives/<name>/sub-*/ as sub-..._mask.nii.gz or sub-..._dseg.nii.gz",
        )
    if len(having) > 1:
        listed = ", ".join(f.relative_to(path).as_posix() for f in having)
        raise DatasetError(f"{path} has masks in several places: {listed}", remedy="name one of these folders instead")
    return having[0], found[having[0]]


def _choose(masks: Sequence[_File], folder: Path) -> tuple[list[_File], list[str]]:
    """Segmentations of all labels (dseg) where there are some, else all masks; what is left out is noted."""
    dseg = [one for one in masks if one.suffix == "dseg"]
    spaces = sorted({one.entities.get("space", "") for one in dseg or masks})
    if len(spaces) > 1:
        raise DatasetError(
            f"{folder.name} has masks in several spaces ({', '.join(s or 'the original' for s in spaces)})",
            remedy="keep those of one space in a folder of derivatives of their own",
        )
    if not dseg:
        return list(masks), []
    variants = sorted({one.variant for one in dseg})
    if len(variants) > 1:
        raise DatasetError(
            f"{folder.name} has several segmentations per image ({', '.join(v or 'without desc' for v in variants)})",
            remedy="keep one of them in a folder of derivatives of its own",
        )
    others = len(masks) - len(dseg)
    return dseg, [f"{others} files _mask beside the segmentations (_dseg) are not used"] if others else []


def _images(path: Path, top: Path, folder: Path) -> dict[_Case, list[_File]]:
    """Images of the data set and of the folder of derivatives, by case."""
    grouped: dict[_Case, list[_File]] = defaultdict(list)
    for place in dict.fromkeys((top, folder, path)):
        for one in _files(place):
            if one.suffix not in _NO_IMAGES and one not in grouped[one.case]:
                grouped[one.case].append(one)
    return {case: files for case, files in grouped.items() if files}


def _grouped(masks: Sequence[_File]) -> dict[_Case, list[_File]]:
    grouped: dict[_Case, list[_File]] = defaultdict(list)
    for one in masks:
        grouped[one.case].append(one)
    return grouped


def _on_grid(case: _Case, masks: Sequence[_File], images: Mapping[_Case, Sequence[_File]]) -> _Found:
    """The images of the case, and of the same subject and session without the mask's further entities, on its grid."""
    wanted = dict(case)
    near = [one for other, files in images.items() if dict(other).items() <= wanted.items() for one in files]
    spaces = {wanted["space"]} if "space" in wanted else {"", *_ORIGINAL}
    near = [one for one in near if one.entities.get("space", "") in spaces]
    if not near:
        raise DatasetError(
            f"the mask {masks[0].path.name} has no image with the same entities",
            remedy="add the image in that space, or remove the mask",
        )
    grid = grid_of(masks[0].path)
    with ThreadPoolExecutor(_THREADS) as pool:
        apart = list(pool.map(lambda one: _apart(grid_of(one.path), grid), near))
    fitting = [one for one, problem in zip(near, apart, strict=True) if not problem]
    if not fitting:
        raise GridMismatch(
            f"the mask {masks[0].path.name} {apart[0]} ({near[0].path.name})",
            remedy="export the mask on the grid of its image (same size and position)",
        )
    chosen: dict[str, _File] = {}
    # the same acquisition before a more general one, what the scanner made before what was made of it
    for one in sorted(fitting, key=lambda one: (-len(one.case), "desc" in one.entities, one.path.name)):
        chosen.setdefault(one.suffix, one)
    return _Found(masks, dict(sorted(chosen.items())), frozenset(one.suffix for one in near) - chosen.keys())


def _apart(image: Grid | None, mask: Grid | None) -> str:
    return "has an image that cannot be read" if image is None else grid_mismatch(image, mask, tolerance=_SAME)


def _channels(cases: Mapping[_Case, _Found]) -> dict[str, str]:
    """Channel by suffix: those suffixes that every case has; a single one is "image"."""
    common = set.intersection(*(set(found.images) for found in cases.values()))
    if not common:
        listed = sorted({suffix for found in cases.values() for suffix in found.images})
        raise DatasetError(
            f"no image suffix is there for every mask ({', '.join(listed)})", remedy="leave out the cases that differ"
        )
    return {s: s for s in sorted(common)} if len(common) > 1 else {next(iter(common)): "image"}


def _left_out(cases: Mapping[_Case, _Found], channels: Mapping[str, str]) -> list[str]:
    elsewhere = {s for found in cases.values() for s in found.elsewhere} - channels.keys()
    some = {s for found in cases.values() for s in found.images} - channels.keys() - elsewhere
    notes = [f"{', '.join(sorted(elsewhere))} lie on another grid than the masks and are not used"] if elsewhere else []
    return notes + ([f"{', '.join(sorted(some))} are not there for every case and are not used"] if some else [])


def _labels(cases: Mapping[_Case, _Found], top: Path, folder: Path) -> tuple[LabelSet, dict[_Case, ImageRef]]:
    """Labels and the mask of each case: one file with all labels, or a file per label."""
    single = {case: found.masks[0] for case, found in cases.items() if len(found.masks) == 1}
    dseg = next(iter(cases.values())).masks[0].suffix == "dseg"
    names = sorted({one.variant for found in cases.values() for one in found.masks}, key=natural)
    if dseg or (len(single) == len(cases) and len(names) == 1):
        several = next((found for found in cases.values() if len(found.masks) > 1), None)
        if several is not None:
            raise DatasetError(
                f"{several.masks[0].path.name} and {several.masks[1].path.name} are of the same images",
                remedy="keep one of them",
            )
        refs = {case: reference(one.path, top) for case, one in single.items()}
        found_values = all_values(top, list(refs.values()))
        return mask_labels(found_values, _value_names(single, folder) if dseg else _one_name(found_values, names)), refs
    values = {name: n for n, name in enumerate(names, 1)}
    layered = {}
    for case, found in cases.items():
        layers = tuple(Layer(path=reference(m.path, top).path, value=values[m.variant]) for m in found.masks)
        layered[case] = ImageRef(path=layers[0].path, layers=layers)
    labels = tuple(Label(name=_short(name), value=value) for name, value in values.items())
    return LabelSet(kind="mask", labels=labels), layered


def _one_name(values: frozenset[int], names: Sequence[str]) -> dict[int, str]:
    found = values - {0}
    return {next(iter(found)): _short(names[0])} if len(found) == 1 and names[0] else {}


def _short(variant: str) -> str:
    """ "label-lesion" as "lesion"; with several entities all of them."""
    return variant.partition("-")[2] if variant and "_" not in variant else variant or "foreground"


def _value_names(masks: Mapping[_Case, _File], folder: Path) -> dict[int, str]:
    """Name by value from the nearest ``dseg.tsv`` of every segmentation; they must agree.

    Raises:
        DatasetError: when two name a value differently, or one has no columns index and name.
    """
    names: dict[int, str] = {}
    read: dict[Path, dict[int, str]] = {}
    for one in masks.values():
        table = _table_of(one, folder)
        if table is None:
            continue
        if table not in read:
            read[table] = _read_names(table)
        wrong = next((v for v, name in read[table].items() if names.get(v, name) != name), None)
        if wrong is not None:
            raise DatasetError(
                f"{table.name} calls {wrong} {read[table][wrong]!r}, and another one {names[wrong]!r}",
                remedy="give every segmentation the same labels",
            )
        names |= read[table]
    return names


def _table_of(mask: _File, folder: Path) -> Path | None:
    """The inheritance principle: a table applies to files below it that have all of its entities."""
    place = mask.path.parent
    while place.is_relative_to(folder):
        for table in sorted(place.glob("*dseg.tsv"), key=lambda p: -len(p.name)):
            pairs = {tuple(p.split("-", 1)) for p in table.name.removesuffix("dseg.tsv").split("_") if "-" in p}
            if pairs <= set(mask.entities.items()):
                return table
        place = place.parent
    return None


def _read_names(table: Path) -> dict[int, str]:
    rows = _rows(table)
    try:
        return {int(row["index"]): row["name"] for row in rows}
    except (KeyError, ValueError) as error:
        raise DatasetError(f"{table.name} does not name values", remedy="give it the columns index and name") from error


def _rows(table: Path) -> list[dict[str, str]]:
    try:
        rows = list(csv.DictReader(read_text(table).splitlines(), delimiter="\t"))
    except csv.Error as error:
        raise DatasetError(f"{table.name} cannot be read: {error}", remedy="save it as UTF-8 text") from error
    return [{k: v or "" for k, v in row.items() if k} for row in rows]


def _participants(top: Path) -> dict[str, dict[str, str]]:
    """The further columns of ``participants.tsv`` by subject; "n/a" is empty."""
    file = top / "participants.tsv"
    if not file.is_file():
        return {}
    found = {}
    for row in _rows(file):
        kept = {k: "" if v == "n/a" else v for k, v in row.items() if k != "participant_id"}
        found[row.get("participant_id", "")] = {_column(k): v for k, v in kept.items()}
    return found


def _column(name: str) -> str:
    """A column of ``participants.tsv``; one that means something else in a manifest is told apart."""
    taken = name.lower() in _TAKEN or name.lower().startswith(("label_", "image_", "mask_"))
    return f"participant_{name}" if taken else name


def _name(case: _Case) -> str:
    """The entities in BIDS' order as far as they matter: subject and session first."""
    order = {"sub": 0, "ses": 1}
    return "_".join(f"{k}-{v}" for k, v in sorted(case, key=lambda pair: (order.get(pair[0], 2), pair[0])))
