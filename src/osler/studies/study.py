"""``Study`` and ``Signal``: one examination of one patient."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from osler.studies.geometry import Array
from osler.studies.image import Image

__all__ = ["Identifiers", "Signal", "Study", "pseudonym"]


def pseudonym(identifier: str) -> str:
    """A name for a DICOM study that does not identify: ``study-`` and 10 hex digits of the identifier's SHA-256."""
    return "study-" + hashlib.sha256(identifier.encode()).hexdigest()[:10]


@dataclass(frozen=True, repr=False)
class Identifiers:
    """The only place where what identifies a patient lives; its repr shows nothing of it."""

    patient_id: str = ""
    patient_name: str = ""
    birth_date: str = ""
    accession_number: str = ""
    study_uid: str = ""
    study_date: str = ""

    def __repr__(self) -> str:
        return "Identifiers(hidden)"


@dataclass(frozen=True)
class Signal:
    """Samples ``(leads, time)`` with a sampling rate in hertz, the unit of the samples (UCUM) and the lead names."""

    samples: Array
    rate_hz: float
    unit: str
    leads: tuple[str, ...]


@dataclass(frozen=True)
class Study:
    """One examination: named images, signals and ordered sequences of images, clinical values, text.

    ``name`` is safe to print and to use as a file name. ``images`` keeps its order: the order of the channels.
    """

    name: str
    images: Mapping[str, Image]
    signals: Mapping[str, Signal] = field(default_factory=dict)
    sequences: Mapping[str, tuple[Image, ...]] = field(default_factory=dict)
    clinical: Mapping[str, float | str] = field(default_factory=dict)
    text: str = field(default="", repr=False)
    identifiers: Identifiers = field(default_factory=Identifiers, repr=False)

    @property
    def image(self) -> Image:
        """The first image: the grid that results are written back onto."""
        return next(iter(self.images.values()))
