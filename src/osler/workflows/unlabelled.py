"""Studies of which nothing says what they show, as a dataset: what inspection looks at and ``osler import`` lists."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from osler.datasets.dataset import Dataset
from osler.datasets.labels import LabelSet
from osler.datasets.layouts.files import pseudonymous, reference
from osler.datasets.layouts.patients import with_patients
from osler.datasets.manifest import Manifest, Record
from osler.studies.discovery import find_signals, find_studies
from osler.studies.formats.dicom_index import index_folder

__all__ = ["NO_ANSWERS", "unlabelled"]

NO_ANSWERS = "studies without answers"
"""What such a layout is called."""


def unlabelled(folder: Path, patient: str | None) -> Dataset:
    """Every study below a folder, without an answer.

    Raises:
        UsageError: when there is none, or ``patient`` does not fit.
    """
    studies = find_studies([folder])
    known = any(study.patient for study in studies)
    records = tuple(
        Record(
            name=pseudonymous(study.name, study.files[0], study.patient),
            images={
                channel: reference(path, folder).model_copy(update={"key": study.keys.get(channel)})
                for channel, path in study.paths.items()
            },
            patient=study.patient or None,
        )
        for study in studies
    )
    channels = Counter(tuple(study.paths) for study in studies).most_common(1)[0][0]
    manifest = Manifest(
        name=folder.name,
        root=folder,
        layout=NO_ANSWERS,
        labels=LabelSet(kind="classes"),
        records=records,
        channels=channels,
        patients="given" if known else "unknown",
        notes=_beside(folder),
    )
    return Dataset(with_patients(manifest, patient))


def _beside(folder: Path) -> tuple[str, ...]:
    """What lies in a folder beside images: DICOM objects that are none, and signals."""
    kinds = Counter(index_folder(folder).others.values())
    listed = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common())
    many = "objects are no images and are" if kinds.total() > 1 else "object is no image and is"
    notes = [f"{kinds.total()} DICOM {many} not looked at: {listed}"] if kinds else []
    signals = len(find_signals(folder))
    words = f"signals beside the images are not looked at ({signals}); name a folder that holds signals only"
    notes += [words] if signals else []
    return tuple(notes)
