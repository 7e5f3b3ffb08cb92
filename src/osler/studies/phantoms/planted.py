"""Patient data in every place where it hides, and a list of where: material to test de-identification on.

    write_dataset("demo/planted", cases=2)       # files of many formats, and planted.csv

Each case is an invented person (``Person``) whose name, numbers, dates, address and relatives are written into tags,
private tags, nested sequences, UIDs, pixels, overlays, reports, text chunks, comments, header fields, preambles and
file names: what a clean phantom never has. ``planted.csv`` lists every place: the columns are file, place, kind, value
(as it stands there) and box (x, y, width, height in pixels, where it is drawn). A file, or a place in it, that is not
on the list holds nothing of the person.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from osler.studies.image import Image
from osler.studies.phantoms.files import case_seed, csv_text, empty_folder, nothing, put_bytes, put_text, write_truth

__all__ = ["KINDS", "Person", "Plant", "Planter", "draw_person", "write_dataset"]

KINDS = ("name", "id", "date", "address", "phone", "person", "institution", "uid", "text")
_FAMILY = (
    "Okafor",
    "Lindqvist",
    "Marchetti",
    "Haddad",
    "Novotny",
    "Castellano",
    "Ferreira",
    "Takeda",
    "Dubois",
    "Weiss",
)
_GIVEN = ("Amara", "Ingrid", "Paolo", "Samira", "Tomas", "Lucia", "Rafael", "Keiko", "Odile", "Bernhard")
_STREETS = ("Quarry Lane", "Orchard Row", "Harbour Street", "Mill Road", "Chapel Hill")
_TOWNS = ("Wexcombe", "Ostergard", "Belmare", "Tarnfield", "Königsruh")
_HOSPITALS = ("Saint Brannoc Infirmary", "Belmare General Hospital", "Tarnfield Clinic")


@dataclass(frozen=True)
class Person:
    """Someone who does not exist. Dates are as DICOM writes them, YYYYMMDD."""

    family: str
    given: str
    number: str
    birth: str
    examined: str
    address: str
    phone: str
    physician: str
    hospital: str
    accession: str

    @property
    def dicom_name(self) -> str:
        """As DICOM writes it: family^given."""
        return f"{self.family}^{self.given}"

    @property
    def plain_name(self) -> str:
        """As people write it."""
        return f"{self.given} {self.family}"

    def dotted(self, date: str) -> str:
        """A date as 14.03.2019."""
        return f"{date[6:]}.{date[4:6]}.{date[:4]}"

    def dashed(self, date: str) -> str:
        """A date as 2019-03-14."""
        return f"{date[:4]}-{date[4:6]}-{date[6:]}"


@dataclass(frozen=True)
class Plant:
    """One place: the file (relative to the data set), where in it, what kind of ``KINDS``, the value as it stands
    there, and the box (x, y, width, height) where it is drawn."""

    file: str
    place: str
    kind: str
    value: str
    box: tuple[int, int, int, int] | None = None

    def row(self) -> dict[str, str]:
        """Its line in ``planted.csv``."""
        box = "" if self.box is None else " ".join(map(str, self.box))
        return {"file": self.file, "place": self.place, "kind": self.kind, "value": self.value, "box": box}


class Planter:
    """What the writers of a case share: the folder, the person, randomness, and the growing list."""

    def __init__(self, folder: Path, case: str, person: Person, seed: int) -> None:
        self.folder, self.case, self.person, self.seed = folder, case, person, seed
        self.plants: list[Plant] = []

    def path(self, name: str, *, named: bool = False) -> Path:
        """Where a file of this case goes. With ``named`` the person's name and number become part of its name."""
        person = self.person
        inserted = f"{person.family.upper()}_{person.given.upper()}_{person.number}_" if named else ""
        relative = f"{self.case}/{inserted}{name}"
        if named:
            self.add(relative, "file name", "name", f"{person.family.upper()}_{person.given.upper()}")
            self.add(relative, "file name", "id", person.number)
        return self.folder / relative

    def add(
        self,
        path: Path | str,
        place: str,
        kind: str,
        value: str,
        box: tuple[int, int, int, int] | None = None,
    ) -> str:
        """Put a place on the list; returns the value, so that planting and listing are one expression."""
        file = path if isinstance(path, str) else path.relative_to(self.folder).as_posix()
        self.plants.append(Plant(file, place, kind, value, box))
        return value

    @cached_property
    def film(self) -> Image:
        """A radiograph, (1, I, J), 12 bit; drawn once per case. Copy it before drawing on it."""
        from osler.studies.phantoms import chest_xray

        return chest_xray.make(self.seed, size=192, machine=0).image

    def put(self, path: Path, data: bytes) -> None:
        """Write a file."""
        put_bytes(path, data)


def draw_person(rng: np.random.Generator) -> Person:
    """A random person."""

    def one(names: tuple[str, ...]) -> str:
        return names[int(rng.integers(len(names)))]

    def date(first: int, last: int) -> str:
        return f"{rng.integers(first, last + 1):04d}{rng.integers(1, 13):02d}{rng.integers(1, 29):02d}"

    return Person(
        family=one(_FAMILY),
        given=one(_GIVEN),
        number=f"{rng.integers(10**7, 10**8)}",
        birth=date(1931, 1999),
        examined=date(2015, 2024),
        address=f"{rng.integers(1, 200)} {one(_STREETS)}, {one(_TOWNS)}",
        phone=f"+00 555 {rng.integers(10**5, 10**6)}",
        physician=f"{one(_FAMILY)}^{one(_GIVEN)}^^Dr",
        hospital=one(_HOSPITALS),
        accession=f"A{rng.integers(10**8, 10**9)}",
    )


def write_dataset(
    folder: str | Path, *, cases: int = 2, seed: int = 0, each: Callable[[], object] = nothing
) -> tuple[Plant, ...]:
    """Write the files of each person in a folder of their own, ``planted.csv`` and ``truth.json``.

    ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    from osler.studies.phantoms.planted_dicom import DICOM_WRITERS
    from osler.studies.phantoms.planted_files import FILE_WRITERS
    from osler.studies.phantoms.planted_reports import REPORT_WRITERS

    folder = empty_folder(folder)
    plants: list[Plant] = []
    truth = {}
    writers: tuple[Callable[[Planter], None], ...] = (*DICOM_WRITERS, *REPORT_WRITERS, *FILE_WRITERS)
    for n in range(cases):
        own = case_seed(seed, n)
        planter = Planter(folder, f"case-{n + 1:03d}", draw_person(np.random.default_rng([own, 4])), own)
        for writer in writers:
            writer(planter)
        plants += planter.plants
        truth[planter.case] = {"seed": own, "planted": [plant.row() for plant in planter.plants]}
        each()
    put_text(folder / "planted.csv", csv_text([plant.row() for plant in plants]))
    write_truth(folder, "planted", seed, truth)
    return tuple(plants)
