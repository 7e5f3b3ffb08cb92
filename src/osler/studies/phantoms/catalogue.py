"""The list of phantoms, and one call that writes a data set of any of them.

Adding one: its module here with ``write_dataset``, its line in ``PHANTOMS``, its test in ``tests/studies_phantoms``
(the conformance test runs every member), its section in ``docs/reference/phantoms.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from osler.errors import Cancelled, Unknown, UsageError
from osler.progress import CancelToken, Progress, Silent
from osler.studies.phantoms.degrade import NO_FAULTS, Faults

__all__ = ["PHANTOMS", "Phantom", "Written", "write"]


@dataclass(frozen=True)
class Phantom:
    """A line of the list: what it shows, its module, how many cases it has unless told, which options it has
    ("dose", "motion", "bias", "times")."""

    name: str
    shows: str
    module: str
    cases: int
    options: frozenset[str] = frozenset()

    @property
    def serial(self) -> bool:
        """Whether a patient can be examined several times."""
        return "times" in self.options


@dataclass(frozen=True)
class Written:
    """What was written: which phantom, where, and for how many patients examined how often."""

    phantom: Phantom
    folder: Path
    cases: int
    times: int

    def summary(self) -> list[str]:
        """Lines for a person."""
        often = f", {self.times} examinations each" if self.times > 1 else ""
        table = {"ecg": "records.csv", "planted": "planted.csv"}.get(self.phantom.name, "manifest.csv")
        return [
            f"{self.cases} of {self.phantom.name} in {self.folder}{often}: {self.phantom.shows}",
            f"  what is where: {self.folder / table}",
            f"  what is true: {self.folder / 'truth.json'}",
        ]

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "phantom": self.phantom.name,
            "folder": str(self.folder),
            "cases": self.cases,
            "times": self.times,
        }


def _phantom(name: str, shows: str, module: str, cases: int, *options: str) -> Phantom:
    return Phantom(name, shows, f"osler.studies.phantoms.{module}", cases, frozenset(options))


PHANTOMS: tuple[Phantom, ...] = (
    _phantom("chest-ct", "chest CT with nodules, as DICOM", "chest_ct", 24, "dose", "motion", "times"),
    _phantom("chest-xray", "radiographs with nodules and large hearts", "chest_xray", 24, "dose", "motion"),
    _phantom("brain-mr", "T1, T2 and FLAIR with lesions", "brain_mr", 12, "motion", "bias", "times"),
    _phantom("cardiac-cine", "beating hearts of known ejection fraction", "cardiac_cine", 12, "motion", "bias"),
    _phantom("ecg", "twelve leads in nine rhythms, as WFDB", "ecg", 27),
    _phantom("slide-cells", "whole slides with two types of cells", "slide_cells", 6),
    _phantom("planted", "patient data in every place where it hides", "planted", 2),
)


def write(
    name: str,
    folder: str | Path,
    *,
    cases: int | None = None,
    seed: int = 0,
    faults: Faults = NO_FAULTS,
    times: int = 1,
    progress: Progress | None = None,
    cancel: CancelToken | None = None,
) -> Written:
    """Write a data set of phantoms; the same arguments give the same bytes.

    Args:
        name: on ``PHANTOMS``.
        folder: a new or empty one.
        cases: patients; None: as many as the list says.
        seed: everything follows from it.
        faults: less dose, motion, an uneven coil, where the phantom has them.
        times: examinations of each patient, where the phantom can be examined several times.
        progress: told of each case.
        cancel: asked after each case.

    Raises:
        Unknown: for a name that is not on the list.
        UsageError: for less than one case or examination, or an option that the phantom does not have.
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
        Cancelled: when stopped; what is written by then stays, without its tables.
    """
    phantom = next((one for one in PHANTOMS if one.name == name), None)
    if phantom is None:
        names = ", ".join(one.name for one in PHANTOMS)
        raise Unknown(f"there is no phantom {name!r}", remedy=f"use one of {names}")
    count = phantom.cases if cases is None else cases
    options = _options(phantom, count, seed, faults, times)
    progress, cancel = progress or Silent(), cancel or CancelToken()
    stage = f"write {name}"

    def each() -> None:
        progress.advance(stage)
        if cancel.cancelled:
            raise Cancelled("stopped at your request", remedy=f"empty {folder} before you run it again")

    progress.start(stage, count, "cases")
    import_module(phantom.module).write_dataset(folder, cases=count, seed=seed, each=each, **options)
    progress.finish(stage)
    return Written(phantom, Path(folder), count, times)


def _options(phantom: Phantom, cases: int, seed: int, faults: Faults, times: int) -> dict[str, Any]:
    """What goes to the phantom's ``write_dataset``."""
    for what, number, least in (("cases", cases, 1), ("times", times, 1), ("seed", seed, 0)):
        if number < least:
            raise UsageError(f"{what} must be {least} or more, not {number}", remedy="choose another number")
    changed = {field for field in ("dose", "motion", "bias") if getattr(faults, field) != getattr(NO_FAULTS, field)}
    changed |= {"times"} if times > 1 else set()
    missing = sorted(changed - phantom.options)
    if missing:
        others = [one.name for one in PHANTOMS if missing[0] in one.options]
        problem = f"the phantom {phantom.name} has no option {missing[0]}"
        raise UsageError(problem, remedy=f"leave it out, or take {' or '.join(others)}")
    options: dict[str, Any] = {}
    if phantom.options - {"times"}:
        options["faults"] = faults
    if phantom.serial:
        options["times"] = times
    return options
