"""Digests by which cases and patients that a model has seen are recognised again, without keeping either."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from osler.datasets.dataset import Dataset
from osler.datasets.manifest import ImageRef, Record
from osler.errors import PathNotFound, StudyError, Unreadable

__all__ = ["content_digest", "known_digest", "patient_digest"]

_CHUNK = 1 << 20


def content_digest(dataset: Dataset, record: Record, salt: str) -> str:
    """The salted SHA-256 of a case's image content, whatever its name, place or answer.

    A file counts by its bytes, a folder (DICOM series) by those of its files in name order, a row of an ``.npz`` by
    the row's bytes.

    Args:
        dataset: that ``record`` is of.
        record: the case.
        salt: the model's own, so that digests of two models cannot be compared.

    Returns:
        64 hexadecimal digits.

    Raises:
        StudyError, PathNotFound: when an image cannot be read.
    """
    digest = hashlib.sha256(salt.encode())
    for ref in record.images.values():
        one = hashlib.sha256()  # of each image by itself: the border between two images counts
        for chunk in _content(dataset.path_of(ref), ref):
            one.update(chunk)
        digest.update(one.digest())
    return digest.hexdigest()


def known_digest(dataset: Dataset, record: Record, salt: str) -> str:
    """As ``content_digest``, and "" of a case that cannot be read: no model has seen it."""
    try:
        return content_digest(dataset, record, salt)
    except (StudyError, PathNotFound):
        return ""


def patient_digest(patient: str, salt: str) -> str:
    """The salted SHA-256 of a patient's identifier: 64 hexadecimal digits."""
    return hashlib.sha256(f"{salt}\0patient\0{patient}".encode()).hexdigest()


def _content(path: Path, ref: ImageRef) -> Iterator[bytes]:
    if ref.key is not None and ref.index is not None:
        from osler.studies.formats.npz import load_array

        yield np.ascontiguousarray(load_array(path, ref.key)[ref.index]).tobytes()
        return
    if not path.exists():
        raise PathNotFound(f"{path} does not exist", remedy="check the spelling")
    files = sorted(p for p in path.iterdir() if p.is_file() and not p.name.startswith(".")) if path.is_dir() else [path]
    for file in files:
        try:
            with file.open("rb") as stream:
                while chunk := stream.read(_CHUNK):
                    yield chunk
        except OSError as error:
            raise Unreadable(f"{file} cannot be read: {error.strerror}", remedy="check its permissions") from error
