"""From paths that a user names to the studies that lie there.

Rules:
- A file is a study, whatever its suffix: one that cannot be read is reported, not passed over.
- The DICOM files of a folder and below are grouped by their headers (``formats.dicom_index``): every volume is a study,
  and every single image (X-ray, ultrasound) and film. Localizers beside a volume of their series are left out. A series
  that is alone in its folder is named as the folder, a single image among others as its file, any other as the folder
  with what tells it apart. A lone file that states no series, as one that only has a DICOM file's suffix, is named as
  the file.
- Any folder gives every study below it: DICOM, and files of a known format; other files are passed over there (notes,
  tables, DICOM objects that are no images, what ``osler predict`` wrote), as are hidden ones. A DICOM file that cannot
  be read is a study of its own, so that reading it says why, unless its folder holds one series: then it spoils that.
- ``x_0000.nii.gz``, ``x_0001.nii.gz`` ... are the channels of the study ``x``. Naming one of them takes its siblings
  from the same folder along.
- A study is named as its file without the extension, or as its folder. Where two have one name, the names of their
  parent folders go in front (``parent-name``) until all differ; in one folder the extension is put behind.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from osler.errors import PathNotFound, UsageError
from osler.studies.files import dicom_places, holds_signal, is_result, kind_of_file, walk
from osler.studies.formats import open_volume, read_image, signal_format, sniff, wfdb
from osler.studies.formats.base import stem_of
from osler.studies.formats.dicom_index import DicomIndex, index_files, index_folder
from osler.studies.image import Image
from osler.studies.volume import ImageLike

__all__ = ["Found", "channel_of", "find_signals", "find_studies"]

_VOLUMES = ("nifti", "nrrd", "metaimage")
_SIGNAL_REMEDY = "osler inspect shows signals; no model reads them yet"
_CHANNEL = re.compile(r"(?P<study>.+)_(?P<channel>\d{4})")


@dataclass(frozen=True)
class Found:
    """A study that was found.

    Args:
        name: unique among what was found together; safe as a file name.
        paths: per channel, in order: what ``read_image`` takes. Channels of nnU-Net names are "0000", "0001" ...;
            a study of one image has the channel "image".
        keys: per channel that needs one, the key of ``read_image``.
        patient: a digest of the PatientID of a DICOM study; "" when nothing says who it is.
    """

    name: str
    paths: Mapping[str, Path]
    keys: Mapping[str, str] = field(default_factory=dict)
    patient: str = ""

    def read(self, channel: str) -> Image:
        """Read the image of a channel; see ``read_image``."""
        return read_image(self.paths[channel], key=self.keys.get(channel))

    def open(self, channel: str) -> ImageLike:
        """The image of a channel, to be read plane by plane where it can be; errors as ``read``."""
        path, key = self.paths[channel], self.keys.get(channel)
        return open_volume(path, key=key) or read_image(path, key=key)

    @property
    def by_plane(self) -> bool:
        """Whether each image can be read plane by plane; errors as ``open``."""
        return all(open_volume(path, key=self.keys.get(channel)) is not None for channel, path in self.paths.items())

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
    named = [Path(path) for path in paths]
    if all(holds_signal(path) for path in named):
        raise _only_signals(named[0], named)
    found: dict[tuple[object, ...], Found] = {}
    for path in named:
        if not path.exists():
            raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
        for study in _of_file(path) if path.is_file() else _in_folder(path):
            found.setdefault((*map(_real, study.files), *study.keys.values()), study)
    return _uniquely_named(list(found.values()))


def find_signals(folder: Path) -> tuple[Path, ...]:
    """The recordings in a folder and below, by name: WFDB headers, EDF and BDF files, DICOM waveforms.

    Headers that another one in their folder lists as its segments are parts of that.
    """
    found = []
    for _, files in walk(folder):
        signals = [file for file in files if holds_signal(file)]
        parts = {part for file in signals if wfdb.sniff(file) for part in wfdb.segments_of(file)}
        found += [file for file in signals if file not in parts]
    return tuple(found)


def _only_signals(path: Path, signals: Sequence[Path]) -> UsageError:
    kinds = ", ".join(sorted({name for file in signals if (name := signal_format(file))}))
    if path.is_dir():
        problem = f"{path} holds {len(signals)} signal{'s' * (len(signals) != 1)} ({kinds}) and no images"
    elif len(signals) == 1:
        problem = f"{path} is a signal ({kinds}) and no image"
    else:
        problem = f"the {len(signals)} files named are signals ({kinds}) and no images"
    return UsageError(problem, remedy=_SIGNAL_REMEDY)


def channel_of(path: Path) -> tuple[str, str] | None:
    """Study and channel of a name such as ``x_0001.nii.gz``: ("x", "0001"); None for other names."""
    match = _CHANNEL.fullmatch(stem_of(path))
    return (match["study"], match["channel"]) if match and sniff(path) in _VOLUMES else None


def _real(path: Path) -> Path:
    """Without links; unlike ``Path.resolve``, no error for a link to itself, which reading refuses."""
    return Path(os.path.realpath(path))


def _of_file(path: Path) -> list[Found]:
    """A file is one study, but for a DICOM file that holds several volumes."""
    if sniff(path) == "dicom":
        index = index_files((path,))
        if len(index.images) > 1:
            return [study for several in _of_dicom(index).values() for study in several]
    return _group([path])


def _in_folder(folder: Path) -> list[Found]:
    found = list(_walk(folder, _of_dicom(index_folder(folder))))
    signals = () if found else find_signals(folder)
    if signals:
        raise _only_signals(folder, signals)
    if not found:
        raise UsageError(
            f"{folder} holds no studies", remedy="name a folder with NIfTI, DICOM, PNG, JPEG, TIFF or NPZ files"
        )
    return found


def _walk(folder: Path, dicom: Mapping[Path, list[Found]]) -> Iterator[Found]:
    """Studies of a folder and below; those of DICOM where their first file lies."""
    for here, files in walk(folder):
        yield from dicom.get(here, [])
        yield from _group([file for file in files if kind_of_file(file) == "image" and not is_result(file)])


def _of_dicom(index: DicomIndex) -> dict[Path, list[Found]]:
    """The studies of an index by the folder of their first file."""
    return {
        folder: [
            Found(one.name, {"image": one.path}, {"image": one.key} if one.key else {}, one.patient) for one in places
        ]
        for folder, places in dicom_places(index).items()
    }


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
    parents = [list(_real(study.files[0]).parents) for study in studies]
    in_folder = Counter((_real(study.files[0]).parent, study.name.lower()) for study in studies)
    names = [
        study.name if in_folder[_real(study.files[0]).parent, study.name.lower()] == 1 else _with_extension(study)
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
