"""From paths that a user names to the studies that lie there.

Rules:
- A file is a study, whatever its suffix: one that cannot be read is reported, not passed over.
- A folder that directly holds DICOM files of one series is one study, named as the folder. When its DICOM files are
  single images without a position in the patient (X-rays, ultrasound), or each of another series, each is a study.
  A lone file that states no series, as one that only has a DICOM file's suffix, is named as the file.
- Any other folder gives every study below it: series folders, and files of a known format; other files are passed
  over there (notes, tables), as are hidden ones.
- ``x_0000.nii.gz``, ``x_0001.nii.gz`` ... are the channels of the study ``x``. Naming one of them takes its siblings
  from the same folder along.
- A study is named as its file without the extension, or as its folder. Where two have one name, the names of their
  parent folders go in front (``parent-name``) until all differ; in one folder the extension is put behind.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from osler.errors import PathNotFound, UsageError
from osler.studies.formats import dicom, sniff
from osler.studies.formats.base import stem_of

__all__ = ["Found", "channel_of", "find_studies"]

_VOLUMES = ("nifti", "nrrd", "metaimage")
_CHANNEL = re.compile(r"(?P<study>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Found:
    """A study that was found.

    Args:
        name: unique among what was found together; safe as a file name.
        paths: per channel, in order: what ``read_image`` takes. Channels of nnU-Net names are "0000", "0001" ...;
            a study of one image has the channel "image".
    """

    name: str
    paths: Mapping[str, Path]

    @property
    def files(self) -> tuple[Path, ...]:
        """The paths without the names of their channels."""
        return tuple(self.paths.values())


def find_studies(paths: Sequence[str | Path]) -> list[Found]:
    """Expand files and folders into studies, in the order given (folders by name); one named twice comes once.

    Raises:
        PathNotFound: when a path does not exist.
        UsageError: when nothing was named, or a folder holds no study.
    """
    if not paths:
        raise UsageError("no study was named", remedy="name a file or a folder")
    found: dict[tuple[Path, ...], Found] = {}
    for path in map(Path, paths):
        if not path.exists():
            raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
        for study in _group([path]) if path.is_file() else _in_folder(path):
            found.setdefault(tuple(file.resolve() for file in study.files), study)
    return _uniquely_named(list(found.values()))


def channel_of(path: Path) -> tuple[str, str] | None:
    """Study and channel of a name such as ``x_0001.nii.gz``: ("x", "0001"); None for other names."""
    match = _CHANNEL.fullmatch(stem_of(path))
    return (match["study"], match["channel"]) if match and sniff(path) in _VOLUMES else None


def _in_folder(folder: Path) -> list[Found]:
    found = list(_walk(folder))
    if not found:
        raise UsageError(
            f"{folder} holds no studies", remedy="name a folder with NIfTI, DICOM, PNG, JPEG, TIFF or NPZ files"
        )
    return found


def _walk(folder: Path) -> Iterator[Found]:
    entries = [entry for entry in sorted(folder.iterdir()) if not entry.name.startswith(".")]
    files = [entry for entry in entries if entry.is_file()]
    kinds = {file: sniff(file) for file in files}
    series = [file for file, kind in kinds.items() if kind == "dicom"]
    if series:
        yield from _of_series(folder, series)
    yield from _group([file for file, kind in kinds.items() if kind not in (None, "dicom")])
    for entry in entries:
        if entry.is_dir() and not folder.resolve().is_relative_to(entry.resolve()):  # a link to above has no end
            yield from _walk(entry)


def _of_series(folder: Path, files: list[Path]) -> list[Found]:
    keys = dicom.series_keys(folder)
    of_series = Counter(keys.values())
    if len(files) > 1 and all(not positioned or of_series[uid, positioned] == 1 for uid, positioned in keys.values()):
        return [Found(stem_of(file), {"image": file}) for file in files]
    if len(files) == 1 and not keys[files[0]][0]:
        return [Found(stem_of(files[0]), {"image": files[0]})]
    return [Found(folder.resolve().name, {"image": folder})]


def _group(files: Sequence[Path]) -> list[Found]:
    """Files to studies; channels of one study come together at the place of its first file."""
    studies: dict[tuple[Path, str], Found] = {}
    for file in files:
        channel = channel_of(file)
        if channel is None:
            studies[file.parent, file.name] = Found(stem_of(file), {"image": file})
        else:
            studies.setdefault((file.parent, channel[0] + "_"), Found(channel[0], _siblings(file, channel[0])))
    return list(studies.values())


def _siblings(file: Path, study: str) -> dict[str, Path]:
    """All channels of a study beside a file of it, in order; a lone ``_0000`` is a study of one channel."""
    channels = ((channel_of(other), other) for other in sorted(file.parent.glob(f"{_escaped(study)}_[0-9]*")))
    return {channel[1]: other for channel, other in channels if channel and channel[0] == study}


def _escaped(name: str) -> str:
    return re.sub(r"([\[*?])", r"[\1]", name)


def _with_extension(study: Found) -> str:
    return study.files[0].name.replace(".", "-")


def _uniquely_named(studies: list[Found]) -> list[Found]:
    """Put parents' names in front of names that occur twice (whatever their case: some file systems see none)."""
    parents = [list(study.files[0].resolve().parents) for study in studies]
    in_folder = Counter((study.files[0].resolve().parent, study.name.lower()) for study in studies)
    names = [
        study.name if in_folder[study.files[0].resolve().parent, study.name.lower()] == 1 else _with_extension(study)
        for study in studies
    ]
    for _ in range(max((len(one) for one in parents), default=0)):
        counts = Counter(name.lower() for name in names)
        clashing = [place for place, name in enumerate(names) if counts[name.lower()] > 1]
        if not clashing:
            break
        for place in clashing:
            parent = parents[place].pop(0).name if parents[place] else ""
            names[place] = f"{parent}-{names[place]}" if parent else names[place]
    counts = Counter(name.lower() for name in names)
    return [
        replace(study, name=name if counts[name.lower()] == 1 else f"{name}-{place + 1}")
        for place, (study, name) in enumerate(zip(studies, names, strict=True))
    ]
