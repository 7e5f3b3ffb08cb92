"""A chest CT that nobody has: body, lungs, heart, spine and nodules of known size, from several scanners.

    phantom = make(seed=7)                      # an image, its mask, and what is in it
    write_dataset("demo/chest", cases=24)       # DICOM series, NIfTI masks and a manifest.csv
    write_study("demo/new-study", seed=1000)    # a DICOM series without an answer

The same seed gives the same bytes. Nodules are hard for classical methods on purpose: vessels, scars and calcified
spots look like them to a blob detector, and patient, contrast medium and scanner change the mean of an image far more
than a nodule does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.formats.nifti import encode
from osler.studies.geometry import LPS_TO_RAS, Array
from osler.studies.image import Image
from osler.studies.phantoms.chest_anatomy import HEART, LUNGS, NODULES, SPINE, Nodule, draw_patient, paint_chest
from osler.studies.phantoms.degrade import NO_FAULTS, Faults, ct_low_dose, ct_motion
from osler.studies.phantoms.dicom_series import write_ct_series
from osler.studies.phantoms.files import case_seed, empty_folder, nothing, put_bytes, write_answers
from osler.studies.phantoms.shapes import Grid

__all__ = [
    "LABELS",
    "SCANNERS",
    "SIZE",
    "ChestPhantom",
    "Scanner",
    "doubling_days",
    "draw_dataset",
    "make",
    "write_dataset",
    "write_study",
]

LABELS = {LUNGS: "lungs", HEART: "heart", SPINE: "spine", NODULES: "nodules"}
SIZE = (80, 80, 48)
_LENGTH = 204.0  # mm from the lowest to the highest slice
_MOST_NODULES = 4
_SMALLEST = 32
_INTERVAL = 90  # days between examinations of one patient


@dataclass(frozen=True)
class Scanner:
    """How an invented scanner sees: field of view per width of the patient, slice distance relative to the others,
    blur (mm, Gaussian sigma), edge enhancement, noise (HU in an average patient), offset (HU)."""

    manufacturer: str
    model: str
    kernel: str
    field: float
    slices: float
    blur: float
    sharpening: float
    noise: float
    offset: float


SCANNERS = (
    Scanner("Aster Imaging", "Aster 64", "SOFT", 1.10, 1.0, 1.6, 0.0, 16.0, 0.0),
    Scanner("Borea Medical", "Borea One", "LUNG", 1.18, 0.85, 0.6, 0.7, 34.0, 6.0),
    Scanner("Cirrus", "Cirrus CT-X", "STD", 1.26, 1.2, 1.1, 0.2, 24.0, -8.0),
)


@dataclass(frozen=True)
class ChestPhantom:
    """A phantom and everything that is true of it.

    ``image`` is (1, I, J, K) int16 in HU; ``mask`` (1, I, J, K) uint8 on the same grid with the values of ``LABELS``.
    Nodules have their centres in LPS+ millimetres, diameters in millimetres and volumes in mm3. ``day`` counts from
    the first of several examinations of the same patient.
    """

    image: Image
    mask: Image
    nodules: tuple[Nodule, ...]
    scanner: Scanner
    seed: int
    day: int = 0

    @property
    def label(self) -> str:
        """``"nodule"`` or ``"clear"``."""
        return "nodule" if self.nodules else "clear"


def make(
    seed: int,
    *,
    size: tuple[int, int, int] = SIZE,
    nodules: int | None = None,
    scanner: int | None = None,
    faults: Faults = NO_FAULTS,
    day: int = 0,
) -> ChestPhantom:
    """Draw a patient, scan them.

    Args:
        seed: the same seed gives the same phantom.
        size: columns, rows and (about) slices.
        nodules: how many, 0 to 4; None leaves it to chance, none in half of the cases.
        scanner: index into ``SCANNERS``; None leaves it to chance.
        faults: less dose, a patient who breathes.
        day: days after the first examination of this patient: they lie a little differently, and each nodule has
            grown as ``doubling_days`` says.

    Raises:
        UsageError: for a size below 32×32×16, a number of nodules that is not 0 to 4, a negative day, a bias field.
    """
    _check(size, nodules, day, faults)
    rng = np.random.default_rng(seed)
    by_chance = int(rng.integers(1, _MOST_NODULES + 1)) if rng.random() < 0.5 else 0
    machine = SCANNERS[int(rng.integers(len(SCANNERS))) if scanner is None else scanner]
    patient = draw_patient(rng, by_chance if nodules is None else nodules)
    noise_rng = np.random.default_rng([seed, 1, day] if day else [seed, 1])
    if day:
        pace = [0.0 if days is None else day / days for days in doubling_days(seed, len(patient.nodules))]
        grown = tuple(n.grown(2.0**p) for n, p in zip(patient.nodules, pace, strict=True))
        patient = replace(patient, nodules=grown)
    grid = _grid(noise_rng if day else rng, machine, patient.width, size)
    hu, labels = paint_chest(grid, patient)
    scanned = _scan(noise_rng, machine, grid, hu, patient.width * patient.depth, faults)
    affine = LPS_TO_RAS @ np.array([[grid.spacing[0], 0, 0, grid.origin[0]], [0, grid.spacing[1], 0, grid.origin[1]],
                                    [0, 0, grid.spacing[2], grid.origin[2]], [0, 0, 0, 1.0]])  # fmt: skip
    image = Image(scanned[None], affine, "CT", units="HU", window=(40.0, 400.0))
    return ChestPhantom(image, Image(labels[None], affine), patient.nodules, machine, seed, day)


def doubling_days(seed: int, nodules: int) -> tuple[int | None, ...]:
    """In how many days each nodule of that patient doubles its volume; None: it does not grow.

    The first one always grows, of the others half, in 90 to 400 days: volume doubling times of solid cancers found by
    screening.
    """
    rng = np.random.default_rng([seed, 2])
    drawn = [(bool(rng.random() < 0.5), int(rng.integers(90, 401))) for _ in range(nodules)]
    return tuple(days if grows or n == 0 else None for n, (grows, days) in enumerate(drawn))


def _check(size: tuple[int, int, int], nodules: int | None, day: int, faults: Faults) -> None:
    if min(size[:2]) < _SMALLEST or size[2] < _SMALLEST // 2:
        raise UsageError(f"a phantom of {'×'.join(map(str, size))} voxels is too small", remedy="use 32×32×16 or more")
    if nodules is not None and not 0 <= nodules <= _MOST_NODULES:
        raise UsageError(f"a phantom has 0 to {_MOST_NODULES} nodules, not {nodules}", remedy="choose another number")
    if day < 0:
        raise UsageError(f"the day of an examination is 0 or later, not {day}", remedy="count from the first")
    if faults.bias:
        raise UsageError("a CT has no bias field", remedy="leave it out, or take brain-mr")


def _grid(rng: np.random.Generator, machine: Scanner, half_width: float, size: tuple[int, int, int]) -> Grid:
    """The field of view fits the patient, who does not lie quite in its middle; numbers are rounded as consoles do."""
    in_plane = round(2 * half_width * machine.field / size[0], 3)
    slices = round(size[2] / machine.slices)
    distance = round(_LENGTH / slices, 2)
    shape, spacing = (size[0], size[1], slices), (in_plane, in_plane, distance)
    x, y, z = (round(-(n - 1) / 2 * s + rng.normal(0, 4), 2) for n, s in zip(shape, spacing, strict=True))
    return Grid(shape, spacing, (x, y, z - 6))


def _scan(rng: np.random.Generator, machine: Scanner, grid: Grid, hu: Array, section: float, faults: Faults) -> Array:
    """What the scanner makes of the patient: table, blur, sharpening, noise, the round field, whole numbers."""
    from scipy.ndimage import gaussian_filter

    sigma = [machine.blur / s for s in grid.spacing]
    hu = gaussian_filter(hu + machine.offset * (hu > -900), sigma)
    _add_table(hu, grid, machine)
    hu = hu + machine.sharpening * (hu - gaussian_filter(hu, [s * 1.6 + 0.5 for s in sigma]))
    grain = gaussian_filter(rng.normal(size=hu.shape), [0.3 + s for s in sigma[:2]] + [0.0])
    x, y, _ = grid.axes()
    thickness = 0.6 + 0.6 * np.exp(-(x**2 + (1.4 * y) ** 2) / 110**2)  # more noise where more was passed
    hu += grain / grain.std() * machine.noise * thickness * (section / (158 * 108)) ** 0.5
    hu = ct_low_dose(rng, ct_motion(rng, hu, grid.spacing, faults.motion), grid.spacing, faults.dose)
    middle = [(o + s * (n - 1) / 2) for o, s, n in zip(grid.origin, grid.spacing, grid.shape, strict=True)]
    radius = grid.spacing[0] * grid.shape[0] / 2
    hu = np.where((x - middle[0]) ** 2 + (y - middle[1]) ** 2 <= (radius * 1.06) ** 2, hu, -1024)
    return np.clip(np.rint(hu), -1024, 3071).astype(np.int16)


def _add_table(hu: Array, grid: Grid, machine: Scanner) -> None:
    x, y, _ = grid.axes()
    back = np.argmax(np.max(hu, axis=(0, 2))[::-1] > -500)
    lowest = grid.origin[1] + grid.spacing[1] * (grid.shape[1] - 1 - int(back))
    curve = np.abs(y - (lowest + 9 - (x / 150) ** 2 * 22 * (1 + machine.field - 1.1)))
    share = np.clip(1.2 - curve / grid.spacing[1], 0, 1) * (np.abs(x) < 190)
    outside = hu < -700
    hu += np.where(outside, share * (-350 - hu), 0)


def write_study(folder: str | Path, seed: int, *, size: tuple[int, int, int] = SIZE) -> ChestPhantom:
    """Write one phantom without its answer: a DICOM series, a file per slice, in ``folder`` (which is made).

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    phantom = make(seed, size=size)
    _write_series(phantom, empty_folder(folder), seed)
    return phantom


def write_dataset(
    folder: str | Path,
    *,
    cases: int = 24,
    seed: int = 0,
    size: tuple[int, int, int] = SIZE,
    faults: Faults = NO_FAULTS,
    times: int = 1,
    each: Callable[[], object] = nothing,
) -> None:
    """Write a labelled dataset: ``manifest.csv``, ``labels.json``, ``truth.json``, ``studies/<name>/*.dcm``,
    ``masks/<name>.nii.gz``. Examinations are written as they are drawn, so that memory does not grow with ``cases``.

    Half of the cases (rounded up) have one to four nodules. The manifest has the columns image, mask, label,
    patient, scanner, nodules and largest_mm; ``task`` says whether masks or labels are learnt.

    Args:
        folder: a new or empty one.
        cases: patients.
        seed: everything follows from it.
        size: columns, rows and (about) slices.
        faults: less dose, patients who breathe.
        times: examinations of each patient, 90 days apart; nodules grow (``doubling_days``), scanners may change. The
            manifest has the column day then.
        each: called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for done, (name, phantom) in enumerate(draw_dataset(cases, seed, size=size, faults=faults, times=times), 1):
        number = phantom.seed + 1
        _write_series(phantom, empty_folder(folder / "studies" / name), number)
        put_bytes(folder / "masks" / f"{name}.nii.gz", encode(phantom.mask, ".nii.gz"))
        rows.append(_row(name, phantom, number, times > 1))
        truth[name] = _truth(phantom, faults)
        if done % times == 0:
            each()
    write_answers(folder, "chest-ct", seed, rows=rows, truth=truth, labels=LABELS)


def draw_dataset(
    cases: int, seed: int, *, size: tuple[int, int, int] = SIZE, faults: Faults = NO_FAULTS, times: int = 1
) -> Iterator[tuple[str, ChestPhantom]]:
    """The examinations that ``write_dataset`` writes, by name, drawn one after another as they are asked for."""
    rng = np.random.default_rng([seed, cases])
    with_nodules = set(rng.permutation(cases)[: (cases + 1) // 2].tolist())
    counts = [int(rng.integers(1, _MOST_NODULES + 1)) if n in with_nodules else 0 for n in range(cases)]
    for n, count in enumerate(counts):
        for visit in range(times):
            own, machine, day = case_seed(seed, n), int(rng.integers(len(SCANNERS))), visit * _INTERVAL
            name = f"chest-{n + 1:03d}" + (f"-{visit + 1}" if times > 1 else "")
            yield name, make(own, size=size, nodules=count, scanner=machine, faults=faults, day=day)


def _row(name: str, phantom: ChestPhantom, number: int, serial: bool) -> dict[str, str]:
    row = {
        "image": f"studies/{name}",
        "mask": f"masks/{name}.nii.gz",
        "label": phantom.label,
        "patient": f"PHANTOM-{number:04d}",
        "scanner": phantom.scanner.model,
        "nodules": str(len(phantom.nodules)),
        "largest_mm": f"{max((n.diameter for n in phantom.nodules), default=0.0):.1f}",
    }
    return {**row, "day": str(phantom.day)} if serial else row


def _truth(phantom: ChestPhantom, faults: Faults) -> dict[str, Any]:
    doubling = doubling_days(phantom.seed, len(phantom.nodules))
    nodules = [
        {
            "centre_lps_mm": list(n.centre),
            "diameter_mm": n.diameter,
            "volume_mm3": n.volume,
            "density_hu": n.density,
            "doubling_days": days,
        }
        for n, days in zip(phantom.nodules, doubling, strict=True)
    ]
    return {"seed": phantom.seed, "day": phantom.day, "faults": asdict(faults), "nodules": nodules}


def _write_series(phantom: ChestPhantom, folder: Path, number: int) -> None:
    machine = phantom.scanner
    write_ct_series(
        phantom.image,
        folder,
        key=f"chest/{phantom.seed}",
        patient_id=f"PHANTOM-{number:04d}",
        equipment={
            "Manufacturer": machine.manufacturer,
            "ManufacturerModelName": machine.model,
            "ConvolutionKernel": machine.kernel,
            "BodyPartExamined": "CHEST",
        },
    )
