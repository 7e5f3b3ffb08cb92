"""``Dataset`` and ``Case``: a manifest with the means to load what it lists."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from osler.datasets.labels import LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record, Target
from osler.datasets.mask_sources import compose_mask
from osler.errors import Unsuitable
from osler.studies.formats import read_image
from osler.studies.image import Image
from osler.studies.study import Study

__all__ = ["Case", "Dataset", "channel_of"]


@dataclass(frozen=True)
class Case:
    """A study and its answer: ``mask`` (same grid as the study's first image, raw file values) or ``target``.

    ``overlaps`` counts the voxels that two labels of a mask in several parts claim; the smaller label has them.
    """

    study: Study
    record: Record
    mask: Image | None = None
    overlaps: Mapping[tuple[int, int], int] = field(default_factory=dict)

    @property
    def target(self) -> Target | None:
        """The answer of a classification or regression case."""
        return self.record.target


def channel_of(image: Image, channel: int) -> Image:
    """One channel (0-based) of an image that holds several, as an image of its own.

    Raises:
        Unsuitable: when there are not so many.
    """
    if not 0 <= channel < len(image.array):
        raise Unsuitable(
            f"channel {channel} is asked for and the file holds {len(image.array)}",
            remedy="check the list of modalities in dataset.json",
        )
    return replace(image, array=image.array[channel : channel + 1], volumes="")


class Dataset:
    """Cases that are loaded when asked for.

    Args:
        manifest: what is there.
    """

    def __init__(self, manifest: Manifest) -> None:
        self.manifest = manifest

    def __repr__(self) -> str:
        return f"Dataset({self.manifest.name!r}, {len(self)} cases, {self.manifest.labels.kind})"

    def __len__(self) -> int:
        return len(self.manifest.records)

    def __iter__(self) -> Iterator[Record]:
        return iter(self.manifest.records)

    @property
    def labels(self) -> LabelSet:
        """What the answers mean."""
        return self.manifest.labels

    @property
    def records(self) -> tuple[Record, ...]:
        """All records, in order."""
        return self.manifest.records

    def with_records(self, records: tuple[Record, ...]) -> Dataset:
        """The same dataset with other records (a subset, or the same ones with splits)."""
        return Dataset(self.manifest.model_copy(update={"records": records}))

    def path_of(self, ref: ImageRef) -> Path:
        """Where an image lies."""
        return self.manifest.root / ref.path

    def read(self, ref: ImageRef) -> Image:
        """Read one image.

        Raises:
            StudyError: when it cannot be read.
        """
        image = read_image(self.path_of(ref), key=ref.key, index=ref.index)
        return image if ref.channel is None else channel_of(image, ref.channel)

    def read_mask(self, ref: ImageRef, *, onto: Image | None = None) -> Image:
        """Read one mask, with the values of its file.

        Args:
            ref: of a record's mask.
            onto: the record's first image; DICOM SEG and RTSTRUCT are laid onto its grid.

        Raises:
            StudyError: when it cannot be read or is not a mask.
        """
        return compose_mask(self.manifest.root, ref, onto=onto).image

    def load(self, record: Record) -> Case:
        """Read the images and the mask of one record; an image without a modality gets the dataset's.

        Raises:
            StudyError: when an image cannot be read or its channels lie on different grids.
        """
        case = self.read_case(record)
        shapes = {image.shape for image in case.study.images.values()}
        if len(shapes) > 1:
            raise Unsuitable(
                f"the channels of {record.name} have different shapes {sorted(shapes)}",
                remedy="resample them onto one grid first",
            )
        return case

    def read_case(self, record: Record) -> Case:
        """``load`` without comparing the channels: for whoever looks for all faults of a case.

        Raises:
            StudyError: when an image cannot be read.
        """
        images = {name: self._with_modality(image) for name, image in self._read_all(record).items()}
        study = Study(name=record.name, images=images)
        if record.mask is None:
            return Case(study, record)
        composed = compose_mask(self.manifest.root, record.mask, onto=study.image)
        return Case(study, record, composed.image, composed.overlaps)

    def _read_all(self, record: Record) -> dict[str, Image]:
        """A file that holds several channels is read once."""
        files: dict[ImageRef, Image] = {}
        images = {}
        for name, ref in record.images.items():
            whole = ref.model_copy(update={"channel": None})
            if whole not in files:
                files[whole] = self.read(whole)
            images[name] = files[whole] if ref.channel is None else channel_of(files[whole], ref.channel)
        return images

    def _with_modality(self, image: Image) -> Image:
        if image.modality or not self.manifest.modality:
            return image
        return replace(image, modality=self.manifest.modality)
