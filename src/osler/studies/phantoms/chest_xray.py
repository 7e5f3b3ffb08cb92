"""A chest radiograph of the patient that ``chest_ct`` scans: line integrals through them, photons, a detector.

    phantom = make(seed=7)                       # an image, its mask, nodules with boxes, the cardiothoracic ratio
    write_dataset("demo/xray", cases=24)         # DICOM DX, the same as PNG, masks and a manifest.csv

The film is posterior-anterior, in deep inspiration: the chest of the CT phantom drawn a third taller, with shoulders,
collar bones and the upper belly. The beam is parallel (nothing is magnified) and of one energy, 70 keV: HU become
attenuation, attenuation becomes photons by Beer-Lambert's law, a share of them is scattered, the rest is counted. What
a console then does for presentation (logarithm, fewer differences between wide areas, sharper edges, a curve) depends
on the scanner.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.formats.raster import encode
from osler.studies.geometry import Array
from osler.studies.image import Image
from osler.studies.phantoms.chest_anatomy import (
    NODULES,
    Nodule,
    Patient,
    draw_patient,
    heart_distance,
    lung_distance,
    paint_chest,
    paint_nodule,
)
from osler.studies.phantoms.degrade import NO_FAULTS, WATER, Faults
from osler.studies.phantoms.dicom_files import new_dataset, put_pixels, save
from osler.studies.phantoms.files import case_seed, empty_folder, nothing, put_bytes, write_answers
from osler.studies.phantoms.shapes import Axes, Grid, capsule, paint

__all__ = ["ENLARGED", "LABELS", "MACHINES", "ChestXray", "Machine", "expose", "make", "project", "write_dataset"]

LABELS = {1: "lungs", 2: "heart", 3: "nodules"}
ENLARGED = 0.5  # a cardiothoracic ratio above this is an enlarged heart (Danzer, Am J Med Sci 1919)
_TALLER = 1.35
_DEEP = 48  # voxels along the beam
_FULL_DOSE = 60_000.0  # photons per pixel before the patient
_SCATTER = 0.35  # scattered per unscattered photon behind the grid
_MOST_NODULES = 3
_FAT_AROUND_HEART = 5.0  # mm; part of its outline on a film
_LARGEST = 4095
_THINNEST = 2.2  # mm, the radius of vessels that a film shows


@dataclass(frozen=True)
class Machine:
    """How an invented machine shows a chest.

    ``field`` is the detector's width per width of the patient, ``blur`` in mm; ``equalising`` is the share of wide
    differences that is taken away, ``sharpening`` of fine ones that is added; ``gamma`` of the curve. ``photometric``
    is MONOCHROME1 where low values are shown white.
    """

    manufacturer: str
    model: str
    field: float
    blur: float
    equalising: float
    sharpening: float
    gamma: float
    photometric: str = "MONOCHROME2"


MACHINES = (
    Machine("Aster Imaging", "Aster DX 300", 1.0, 0.5, 0.45, 0.8, 1.2),
    Machine("Borea Medical", "Borea Wall", 1.06, 0.8, 0.3, 0.5, 1.45, "MONOCHROME1"),
    Machine("Cirrus", "Cirrus FlatOne", 1.03, 0.4, 0.55, 1.1, 1.1),
)


@dataclass(frozen=True)
class ChestXray:
    """A radiograph and everything that is true of it.

    ``image`` is (1, I, J) uint16, 0 to 4095, bones bright: I to the patient's left, J downwards. ``mask`` is (1, I, J)
    uint8 with the values of ``LABELS``, later ones over earlier ones. ``boxes`` are the nodules' (i, j, i, j), first
    and last pixel. ``heart_mm`` and ``chest_mm`` are the greatest widths whose ratio is the cardiothoracic one.
    """

    image: Image
    mask: Image
    nodules: tuple[Nodule, ...]
    boxes: tuple[tuple[int, int, int, int], ...]
    heart_mm: float
    chest_mm: float
    machine: Machine
    seed: int

    @property
    def ratio(self) -> float:
        """The cardiothoracic ratio."""
        return self.heart_mm / self.chest_mm

    @property
    def enlarged(self) -> bool:
        """Whether the heart is."""
        return self.ratio > ENLARGED


def project(hu: Array, depth: float) -> Array:
    """Line integrals of attenuation along J.

    Args:
        hu: (I, J, K) in HU.
        depth: mm of a voxel along J.

    Returns:
        (I, K), without unit: Beer-Lambert's exponent at 70 keV.
    """
    return np.asarray(np.maximum(WATER * (1 + hu / 1000), 0).sum(axis=1) * depth)


def expose(rng: np.random.Generator, lines: Array, pixel: float, faults: Faults = NO_FAULTS) -> Array:
    """What the detector counts behind line integrals (I, K), as a share of what it counts without a patient.

    Args:
        rng: what the photons are drawn from.
        lines: (I, K), from ``project``.
        pixel: mm of a pixel.
        faults: the dose, and how far the patient moves along K while the beam is on (a blur of that length).
    """
    from scipy.ndimage import gaussian_filter, uniform_filter1d

    primary = np.exp(-lines)
    if faults.motion:
        primary = uniform_filter1d(primary, max(1, round(faults.motion / pixel)), axis=1, mode="nearest")
    scattered = _SCATTER * gaussian_filter(primary, 25 / pixel, mode="nearest")
    expected = _FULL_DOSE * faults.dose * (primary + scattered)
    return np.asarray(np.maximum(rng.poisson(expected), 1) / (_FULL_DOSE * faults.dose * (1 + _SCATTER)))


def make(
    seed: int,
    *,
    size: int = 256,
    nodules: int | None = None,
    ratio: float | None = None,
    machine: int | None = None,
    faults: Faults = NO_FAULTS,
) -> ChestXray:
    """Draw a patient, take a film.

    Args:
        seed: the same seed gives the same phantom; the patient is that of ``chest_ct`` with the same seed.
        size: columns and rows.
        nodules: how many, 0 to 3; None leaves it to chance, none in half of the cases.
        ratio: the cardiothoracic ratio, 0.35 to 0.7; None leaves it to chance, enlarged in two of five.
        machine: index into ``MACHINES``; None leaves it to chance.
        faults: less dose, a patient who moves.

    Raises:
        UsageError: for a size below 64, a number of nodules or a ratio outside these limits, a bias field.
    """
    _check(size, nodules, ratio, faults)
    rng = np.random.default_rng(seed)
    by_chance = int(rng.integers(1, _MOST_NODULES + 1)) if rng.random() < 0.5 else 0
    chosen = MACHINES[int(rng.integers(len(MACHINES))) if machine is None else machine]
    patient = draw_patient(rng, by_chance if nodules is None else nodules)
    own = np.random.default_rng([seed, 3])
    drawn = float(own.uniform(0.53, 0.64) if own.random() < 0.4 else own.uniform(0.4, 0.48))
    patient = _with_ratio(patient, drawn if ratio is None else ratio)
    lines, labels, boxes, pixel = _lines(patient, size, chosen, own)
    shown = _present(expose(own, lines, pixel, faults), pixel, chosen)
    picture = np.diag([-pixel, 1.0, -pixel, 1.0])[:, [0, 2, 1, 3]]  # I to the left, J down: RAS+ −x and −z
    picture[1, 2] = -1.0
    image = Image(shown[None, :, ::-1], picture, "DX", window=(2048.0, 4096.0))
    mask = Image(labels[None, :, ::-1], picture)
    taller = tuple(_taller(nodule) for nodule in patient.nodules)
    return ChestXray(image, mask, taller, boxes, _heart_width(patient), 2 * patient.cage[0], chosen, seed)


def _check(size: int, nodules: int | None, ratio: float | None, faults: Faults) -> None:
    if size < 64:
        raise UsageError(f"a radiograph of {size} pixels is too small", remedy="use 64 or more")
    if nodules is not None and not 0 <= nodules <= _MOST_NODULES:
        raise UsageError(
            f"a radiograph has 0 to {_MOST_NODULES} nodules, not {nodules}", remedy="choose another number"
        )
    if ratio is not None and not 0.35 <= ratio <= 0.7:
        raise UsageError(f"a cardiothoracic ratio is 0.35 to 0.7 here, not {ratio:g}", remedy="choose another")
    if faults.bias:
        raise UsageError("a radiograph has no bias field", remedy="leave it out, or take brain-mr")


def _heart_width(patient: Patient) -> float:
    """mm of the heart's outline from side to side: half axes of an ellipsoid that is turned about z and leans."""
    a, b, c = (radius + _FAT_AROUND_HEART for radius in patient.heart_radii)
    turned = (a * np.cos(patient.heart_turn)) ** 2 + (b * np.sin(patient.heart_turn)) ** 2
    return float(2 * np.sqrt(turned + (0.35 * c) ** 2))


def _with_ratio(patient: Patient, ratio: float) -> Patient:
    """The patient with a heart of another size. A larger one grows mostly to the left."""
    from scipy.optimize import brentq

    def scaled(factor: float) -> Patient:
        a, b, c = (radius * factor for radius in patient.heart_radii)
        x, y, z = patient.heart
        return replace(patient, heart_radii=(a, b, min(c, 52.0)), heart=(x + 14 * (factor - 1), y, z))

    wanted = ratio * 2 * patient.cage[0]
    return scaled(float(brentq(lambda factor: _heart_width(scaled(factor)) - wanted, 0.4, 3)))


def _taller(nodule: Nodule) -> Nodule:
    x, y, z = nodule.centre
    return replace(nodule, centre=(x, y, z * _TALLER))


def _lines(
    patient: Patient, size: int, machine: Machine, rng: np.random.Generator
) -> tuple[Array, Array, tuple[tuple[int, int, int, int], ...], float]:
    """Line integrals (I, K) and labels (I, K), K upwards, boxes in picture pixels, and mm of a pixel."""
    pixel = round(2 * patient.width * machine.field / size, 3)
    deep = 2.1 * patient.depth / _DEEP
    left, low = -(size - 1) / 2 * pixel + rng.normal(0, 4), -(size - 1) / 2 * pixel - 12 + rng.normal(0, 5)
    back = -(_DEEP - 1) / 2 * deep
    short = Grid((size, _DEEP, size), (pixel, deep, pixel / _TALLER), (left, back, low / _TALLER))
    # Thinner vessels blur into the lung on a film.
    tubes = tuple(tube for tube in patient.tubes if max(tube.radii) >= _THINNEST)
    hu, _ = paint_chest(short, replace(patient, nodules=(), tubes=tubes))
    tall = Grid((size, _DEEP, size), (pixel, deep, pixel), (left, back, low))
    _paint_shoulders(hu, tall, patient)
    labels = np.zeros(hu.shape, np.uint8)
    flat = _outlines(short.axes(), patient, deep)
    boxes = []
    for nodule in patient.nodules:
        labels[:] = 0
        paint_nodule(hu, labels, tall, _taller(nodule), pixel)
        seen = (labels == NODULES).any(axis=1)
        flat[seen] = 3
        columns, rows = np.flatnonzero(seen.any(axis=1)), size - 1 - np.flatnonzero(seen.any(axis=0))
        boxes.append((int(columns[0]), int(rows[-1]), int(columns[-1]), int(rows[0])))
    return project(hu, deep), flat, tuple(boxes), pixel


def _outlines(axes: Axes, patient: Patient, deep: float) -> Array:
    """Labels (I, K): lungs where 20 mm or more of them lie in the beam, the heart with its fat over them."""
    flat = np.zeros((axes[0].shape[0], axes[2].shape[2]), np.uint8)
    flat[(lung_distance(axes, patient) < 0).sum(axis=1) * deep >= 20] = 1
    flat[(heart_distance(axes, patient, _FAT_AROUND_HEART) < 0).any(axis=1)] = 2
    return flat


def _paint_shoulders(hu: Array, grid: Grid, patient: Patient) -> None:
    """Air beside the neck, and the collar bones."""
    x, y, z = grid.axes()
    width, depth = patient.cage
    shrink = np.clip((z - 84) / 62, 0, 1)
    shrink = shrink * shrink * (3 - 2 * shrink)  # from the shoulders to the neck, smoothly
    across, through = 1.14 - 0.76 * shrink, 1.05 - 0.45 * shrink
    outline = ((np.abs(x) / (patient.width * across)) ** 2.4 + (np.abs(y) / (patient.depth * through)) ** 2.4) ** (
        1 / 2.4
    )
    paint(hu, np.where(z > 84, (1 - outline) * 60, 1e3), -1000.0, 4.0)
    for side in (-1.0, 1.0):
        points = ((16, -depth + 6, 90), (width * 0.45, -depth * 0.85, 101), (width * 1.05, -18, 119))
        for start, end in pairwise(points):
            first, last = (side * start[0], start[1], start[2]), (side * end[0], end[1], end[2])
            bone = capsule((x, y, z), first, last, (7.0, 6.0))
            paint(hu, bone, patient.bone + 650, 3.0)
            paint(hu, bone + 3.0, patient.bone, 3.0)


def _present(exposed: Array, pixel: float, machine: Machine) -> Array:
    """Counts (I, K) to values for presentation, 0 to 4095, bones bright."""
    from scipy.ndimage import gaussian_filter

    density = -np.log(gaussian_filter(exposed, machine.blur / pixel))
    wide = gaussian_filter(density, 30 / pixel, mode="nearest")
    fine = density - gaussian_filter(density, 7 / pixel, mode="nearest")
    shown = density - machine.equalising * (wide - wide.mean()) + machine.sharpening * fine
    inside = density > 0.3
    low, high = np.percentile(shown[inside], (1.5, 99))
    scaled = np.clip((shown - low * 0.9) / (high - low * 0.9), 0, 1) ** machine.gamma
    return np.asarray(np.rint(scaled * _LARGEST).astype(np.uint16))


def write_dataset(
    folder: str | Path,
    *,
    cases: int = 24,
    seed: int = 0,
    size: int = 256,
    faults: Faults = NO_FAULTS,
    each: Callable[[], object] = nothing,
) -> None:
    """Write ``studies/<name>.dcm``, the same as ``pictures/<name>.png`` (8 bit), ``masks/<name>.png``,
    ``manifest.csv``, ``labels.json`` and ``truth.json``.

    The manifest has the columns image, mask, label_nodule, label_enlarged heart, patient, scanner and
    cardiothoracic_ratio; ``task`` says whether masks or labels are learnt.

    ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for n in range(cases):
        own = case_seed(seed, n)
        phantom = make(own, size=size, faults=faults)
        name, number = f"xray-{n + 1:03d}", f"PHANTOM-{own + 1:04d}"
        _write_dicom(phantom, folder / "studies" / f"{name}.dcm", number)
        eight = Image((phantom.image.array >> 4).astype(np.uint8))
        put_bytes(folder / "pictures" / f"{name}.png", encode(eight, ".png"))
        put_bytes(folder / "masks" / f"{name}.png", encode(phantom.mask, ".png"))
        rows.append(_row(name, phantom, number))
        truth[name] = _truth(phantom, faults)
        each()
    write_answers(folder, "chest-xray", seed, rows=rows, truth=truth, labels=LABELS)


def _row(name: str, phantom: ChestXray, patient: str) -> dict[str, str]:
    return {
        "image": f"studies/{name}.dcm",
        "mask": f"masks/{name}.png",
        "label_nodule": str(int(bool(phantom.nodules))),
        "label_enlarged heart": str(int(phantom.enlarged)),
        "patient": patient,
        "scanner": phantom.machine.model,
        "cardiothoracic_ratio": f"{phantom.ratio:.3f}",
    }


def _truth(phantom: ChestXray, faults: Faults) -> dict[str, Any]:
    return {
        "seed": phantom.seed,
        "faults": asdict(faults),
        "heart_mm": phantom.heart_mm,
        "chest_mm": phantom.chest_mm,
        "cardiothoracic_ratio": phantom.ratio,
        "nodules": [
            {"centre_lps_mm": list(n.centre), "diameter_mm": n.diameter, "volume_mm3": n.volume, "box_px": list(box)}
            for n, box in zip(phantom.nodules, phantom.boxes, strict=True)
        ],
    }


def _write_dicom(phantom: ChestXray, path: Path, patient_id: str) -> None:
    from pydicom.uid import DigitalXRayImageStorageForPresentation

    machine, pixel = phantom.machine, phantom.image.spacing[0]
    inverted = machine.photometric == "MONOCHROME1"
    own = {
        "Manufacturer": machine.manufacturer,
        "ManufacturerModelName": machine.model,
        "PhotometricInterpretation": machine.photometric,
        "PresentationLUTShape": "INVERSE" if inverted else "IDENTITY",
        "PixelIntensityRelationshipSign": 1 if inverted else -1,
        "ImagerPixelSpacing": [f"{pixel:.6g}"] * 2,
    }
    dataset = new_dataset(
        DigitalXRayImageStorageForPresentation,
        key=f"xray/{phantom.seed}",
        series="pa",
        instance=0,
        patient_id=patient_id,
        attributes={**_DX, **own},
    )
    stored = phantom.image.array[0]
    put_pixels(dataset, _LARGEST - stored if inverted else stored)
    save(dataset, path)


_DX: dict[str, Any] = {
    "ImageType": ["ORIGINAL", "PRIMARY"],
    "Modality": "DX",
    "StudyDescription": "Osler chest phantom",
    "SeriesDescription": "Chest PA",
    "InstanceNumber": 1,
    "BodyPartExamined": "CHEST",
    "ViewPosition": "PA",
    "PatientOrientation": ["L", "F"],
    "PresentationIntentType": "FOR PRESENTATION",
    "PixelIntensityRelationship": "LOG",
    "RescaleIntercept": "0",
    "RescaleSlope": "1",
    "RescaleType": "US",
    "WindowCenter": "2048",
    "WindowWidth": "4096",
    "BurnedInAnnotation": "NO",
    "LossyImageCompression": "00",
    "DetectorType": "SCINTILLATOR",
    "KVP": "110",
}
