"""A chest CT that nobody has: body, lungs, heart, spine and nodules of known size, from several scanners.

    phantom = make(seed=7)                      # an image, its mask, and what is in it
    write_dataset("demo/chest", cases=24)       # DICOM series, NIfTI masks and a manifest.csv
    write_study("demo/new-study", seed=1000)    # a DICOM series without an answer

The same seed gives the same bytes. Nodules are hard for classical methods on purpose: vessels, scars and calcified
spots look like them to a blob detector, and patient, contrast medium and scanner change the mean of an image far more
than a nodule does.
"""

from __future__ import annotations

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from osler.errors import OutputExists, StorageError, UsageError
from osler.studies.formats import write_image
from osler.studies.geometry import LPS_TO_RAS, Array
from osler.studies.image import Image
from osler.studies.phantoms.chest_anatomy import HEART, LUNGS, NODULES, SPINE, Nodule, draw_patient, paint_chest
from osler.studies.phantoms.dicom_series import write_ct_series
from osler.studies.phantoms.shapes import Grid

__all__ = ["LABELS", "SCANNERS", "SIZE", "ChestPhantom", "Scanner", "make", "write_dataset", "write_study"]

LABELS = {LUNGS: "lungs", HEART: "heart", SPINE: "spine", NODULES: "nodules"}
SIZE = (80, 80, 48)
_LENGTH = 204.0  # mm from the lowest to the highest slice
_MOST_NODULES = 4
_SMALLEST = 32


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
    Nodules have their centres in LPS+ millimetres and diameters in millimetres.
    """

    image: Image
    mask: Image
    nodules: tuple[Nodule, ...]
    scanner: Scanner
    seed: int

    @property
    def label(self) -> str:
        """``"nodule"`` or ``"clear"``."""
        return "nodule" if self.nodules else "clear"


def make(
    seed: int, *, size: tuple[int, int, int] = SIZE, nodules: int | None = None, scanner: int | None = None
) -> ChestPhantom:
    """Draw a patient, scan them.

    Args:
        seed: the same seed gives the same phantom.
        size: columns, rows and (about) slices.
        nodules: how many, 0 to 4; None leaves it to chance, none in half of the cases.
        scanner: index into ``SCANNERS``; None leaves it to chance.

    Raises:
        UsageError: for a size below 32×32×16 or a number of nodules that is not 0 to 4.
    """
    if min(size[:2]) < _SMALLEST or size[2] < _SMALLEST // 2:
        raise UsageError(f"a phantom of {'×'.join(map(str, size))} voxels is too small", remedy="use 32×32×16 or more")
    if nodules is not None and not 0 <= nodules <= _MOST_NODULES:
        raise UsageError(f"a phantom has 0 to {_MOST_NODULES} nodules, not {nodules}", remedy="choose another number")
    rng = np.random.default_rng(seed)
    by_chance = int(rng.integers(1, _MOST_NODULES + 1)) if rng.random() < 0.5 else 0
    machine = SCANNERS[int(rng.integers(len(SCANNERS))) if scanner is None else scanner]
    patient = draw_patient(rng, by_chance if nodules is None else nodules)
    grid = _grid(rng, machine, patient.width, size)
    hu, labels = paint_chest(grid, patient)
    noise_rng = np.random.default_rng([seed, 1])
    scanned = _scan(noise_rng, machine, grid, hu, patient.width * patient.depth)
    affine = LPS_TO_RAS @ np.array([[grid.spacing[0], 0, 0, grid.origin[0]], [0, grid.spacing[1], 0, grid.origin[1]],
                                    [0, 0, grid.spacing[2], grid.origin[2]], [0, 0, 0, 1.0]])  # fmt: skip
    image = Image(scanned[None], affine, "CT", units="HU", window=(40.0, 400.0))
    return ChestPhantom(image, Image(labels[None], affine), patient.nodules, machine, seed)


def _grid(rng: np.random.Generator, machine: Scanner, half_width: float, size: tuple[int, int, int]) -> Grid:
    """The field of view fits the patient, who does not lie quite in its middle; numbers are rounded as consoles do."""
    in_plane = round(2 * half_width * machine.field / size[0], 3)
    slices = round(size[2] / machine.slices)
    distance = round(_LENGTH / slices, 2)
    shape, spacing = (size[0], size[1], slices), (in_plane, in_plane, distance)
    x, y, z = (round(-(n - 1) / 2 * s + rng.normal(0, 4), 2) for n, s in zip(shape, spacing, strict=True))
    return Grid(shape, spacing, (x, y, z - 6))


def _scan(rng: np.random.Generator, machine: Scanner, grid: Grid, hu: Array, section: float) -> Array:
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
    _write_series(phantom, _empty(Path(folder)), seed)
    return phantom


def write_dataset(
    folder: str | Path, *, cases: int = 24, seed: int = 0, size: tuple[int, int, int] = SIZE
) -> tuple[ChestPhantom, ...]:
    """Write a labelled dataset: ``manifest.csv``, ``labels.json``, ``studies/<name>/*.dcm``, ``masks/<name>.nii.gz``.

    Half of the cases (rounded up) have one to four nodules. The manifest has the columns image, mask, label,
    patient, scanner, nodules and largest_mm; ``task`` says whether masks or labels are learnt.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = _empty(Path(folder))
    rng = np.random.default_rng([seed, cases])
    with_nodules = set(rng.permutation(cases)[: (cases + 1) // 2].tolist())
    counts = [int(rng.integers(1, _MOST_NODULES + 1)) if n in with_nodules else 0 for n in range(cases)]
    phantoms, rows = [], []
    (folder / "masks").mkdir()
    for n, count in enumerate(counts):
        phantom = make(seed * 10_000 + n, size=size, nodules=count, scanner=int(rng.integers(len(SCANNERS))))
        name = f"chest-{n + 1:03d}"
        number = seed * 10_000 + n + 1  # patients of datasets with different seeds are different people
        _write_series(phantom, _empty(folder / "studies" / name), number)
        write_image(phantom.mask, folder / "masks" / f"{name}.nii.gz")
        phantoms.append(phantom)
        rows.append(_row(name, phantom, number))
    _write_text(folder / "manifest.csv", _table(rows))
    _write_text(folder / "labels.json", json.dumps({str(v): n for v, n in LABELS.items()}, indent=2) + "\n")
    return tuple(phantoms)


def _row(name: str, phantom: ChestPhantom, number: int) -> dict[str, str]:
    return {
        "image": f"studies/{name}",
        "mask": f"masks/{name}.nii.gz",
        "label": phantom.label,
        "patient": f"PHANTOM-{number:04d}",
        "scanner": phantom.scanner.model,
        "nodules": str(len(phantom.nodules)),
        "largest_mm": f"{max((n.diameter for n in phantom.nodules), default=0.0):.1f}",
    }


def _table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _empty(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise OutputExists(f"{folder} is not empty", remedy="choose another folder or empty it")
    except OSError as error:
        raise StorageError.of(error, folder) from error
    return folder


def _write_text(path: Path, text: str) -> None:
    try:
        path.write_text(text, "utf-8")
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}", remedy="free space") from error


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
