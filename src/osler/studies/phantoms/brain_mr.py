"""A brain MR that nobody has: T1, T2 and FLAIR of one head, with white-matter lesions of known size.

    phantom = make(seed=7)                       # three images on one grid, a mask, what is in it
    write_dataset("demo/brain", cases=24)        # NIfTI per channel, DICOM series, masks and a manifest.csv

The head is drawn at 1.5 mm (``brain_anatomy``); each tissue has the signal that its relaxation times give in the
scanner's sequences (``mr_signal``); the coil's sensitivity, thick oblique slices, the patient's motion and Rician
noise follow in that order.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.formats.nifti import encode
from osler.studies.geometry import LPS_TO_RAS, Array, volume_per_voxel
from osler.studies.image import Image
from osler.studies.phantoms.brain_anatomy import (
    CSF,
    GREY,
    LESION,
    TISSUE_NAMES,
    WHITE,
    Lesion,
    draw_head,
    lesion_distance,
    paint_head,
)
from osler.studies.phantoms.degrade import NO_FAULTS, Faults, bias_field, mr_motion, rician
from osler.studies.phantoms.dicom_series import write_mr_series
from osler.studies.phantoms.files import case_seed, empty_folder, nothing, put_bytes, write_answers
from osler.studies.phantoms.mr_signal import TISSUES, Sequence, inversion_recovery, spin_echo, spoiled
from osler.studies.phantoms.shapes import Grid

__all__ = ["CHANNELS", "LABELS", "SCANNERS", "BrainPhantom", "Scanner", "factors", "make", "write_dataset"]

CHANNELS = ("T1", "T2", "FLAIR")
LABELS = {1: "csf", 2: "grey matter", 3: "white matter", 4: "lesions"}
_MOST_LESIONS = 12
_FIELD = (192.0, 224.0, 150.0)  # mm
_MIDDLE = (0.0, 0.0, 6.0)  # LPS+ mm
_FINE = 1.5  # mm
_INTERVAL = 180  # days between examinations of one patient
_LARGEST = 4095


@dataclass(frozen=True)
class Scanner:
    """How an invented scanner sees: pixel and slice distance (mm), slice thickness as a share of that distance,
    noise as a share of white matter, how uneven its coil is, TR and TE (ms) of T1 (with flip angle in degrees), T2 and
    FLAIR; ``spin_echo_t1`` instead of a spoiled gradient echo."""

    manufacturer: str
    model: str
    pixel: float
    distance: float
    thickness: float
    noise: float
    bias: float
    t1: tuple[float, float, float]
    t2: tuple[float, float]
    flair: tuple[float, float]
    spin_echo_t1: bool = False

    def sequences(self) -> dict[str, Sequence]:
        """By channel."""
        tr, te, flip = self.t1
        first = spin_echo(tr, te) if self.spin_echo_t1 else spoiled(tr, te, flip)
        return {"T1": first, "T2": spin_echo(*self.t2), "FLAIR": inversion_recovery(*self.flair)}


SCANNERS = (
    Scanner("Aster Imaging", "Aster MR 1", 1.0, 3.0, 1.0, 0.02, 0.08, (20, 5, 28), (4200, 98), (9000, 120)),
    Scanner("Borea Medical", "Borea Tor", 1.2, 4.0, 0.85, 0.035, 0.2, (520, 12, 90), (5200, 84), (8000, 105), True),
    Scanner("Cirrus", "Cirrus MR-V", 0.9, 5.0, 0.9, 0.028, 0.14, (25, 6, 32), (3600, 105), (10000, 135)),
)


@dataclass(frozen=True)
class BrainPhantom:
    """A phantom and everything that is true of it.

    ``images`` by channel are (1, I, J, K) uint16 on one grid, 0 to 4095; ``mask`` (1, I, J, K) uint8 on it with the
    values of ``LABELS``: the tissue that fills most of a voxel, and lesions where their surface is. Lesions have their
    centres in LPS+ mm and volumes in mm3. ``day`` counts from the first of several examinations.
    """

    images: Mapping[str, Image]
    mask: Image
    lesions: tuple[Lesion, ...]
    scanner: Scanner
    seed: int
    day: int = 0


def make(
    seed: int,
    *,
    lesions: int | None = None,
    scanner: int | None = None,
    coarser: float = 1.0,
    faults: Faults = NO_FAULTS,
    day: int = 0,
) -> BrainPhantom:
    """Draw a head, scan it.

    Args:
        seed: the same seed gives the same phantom.
        lesions: how many at the first examination, 0 to 12; None leaves it to chance, none in a third of the cases.
        scanner: index into ``SCANNERS``; None leaves it to chance.
        coarser: how many times wider pixels are than the scanner's, 1 to 4, for small examples; above 2 the head
            is drawn more coarsely too.
        faults: a patient who moves, a coil more uneven than the scanner's own (a bias of 0 leaves that as it is).
        day: days after the first examination of this patient: lesions have grown, shrunk or are new (``factors``), the
            head lies differently.

    Raises:
        UsageError: for a number of lesions or a factor outside these limits, a negative day, a lower dose.
    """
    _check(lesions, coarser, day, faults)
    rng = np.random.default_rng(seed)
    by_chance = 0 if rng.random() < 1 / 3 else int(rng.integers(1, _MOST_LESIONS + 1))
    machine = SCANNERS[int(rng.integers(len(SCANNERS))) if scanner is None else scanner]
    changes = factors(seed, by_chance if lesions is None else lesions, day)
    head = draw_head(rng, len(changes))
    changed = zip(head.lesions, changes, strict=True)
    head = replace(head, lesions=tuple(lesion.grown(factor) for lesion, factor in changed if factor > 0))
    own = np.random.default_rng([seed, 1, day])
    fine = _fine_grid(_FINE * max(1.0, coarser / 2))
    shares = paint_head(fine, head)
    affine, shape = _slices(own, machine, coarser)
    images = {}
    for channel, sequence in machine.sequences().items():
        signal = np.tensordot([sequence(TISSUES[name]) for name in TISSUE_NAMES], shares, 1)
        seen = _seen(signal, fine, affine, shape, machine)
        seen *= bias_field(own, shape, faults.bias or machine.bias)
        level = sequence(TISSUES["white"])
        moved = mr_motion(own, seen, np.linalg.norm(affine[:3, :2], axis=0), faults.motion)
        noisy = rician(own, moved, machine.noise * level)
        values = np.clip(np.rint(noisy / level * _gain(channel)), 0, _LARGEST).astype(np.uint16)
        images[channel] = Image(values[None], LPS_TO_RAS @ affine, "MR", window=_window(channel))
    mask = Image(_labels(shares, head.lesions, fine, affine, shape, machine)[None], LPS_TO_RAS @ affine)
    return BrainPhantom(images, mask, head.lesions, machine, seed, day)


def factors(seed: int, lesions: int, day: int) -> tuple[float, ...]:
    """How many times its first volume each lesion of that patient has on a day.

    Of those that are there from the first examination a quarter grows by 1.2 to 1.6 times a year (and always the first
    of them), one in eight shrinks as fast, the others stay. Up to two more, at the end of the tuple, appear during the
    first year: they have 0 before.
    """
    rng = np.random.default_rng([seed, 2])
    new = int(rng.integers(0, 3)) if lesions else 0
    appear = rng.integers(1, 360, 2)
    found = []
    for number in range(lesions):
        kind, pace = rng.random(), rng.uniform(1.2, 1.6) ** (day / 365)
        grows, shrinks = number == 0 or kind < 0.25, kind < 0.375
        found.append(float(pace if grows else 1 / pace if shrinks else 1.0))
    return (*found, *(float(day >= first) for first in appear[:new]))


def _check(lesions: int | None, coarser: float, day: int, faults: Faults) -> None:
    if lesions is not None and not 0 <= lesions <= _MOST_LESIONS:
        raise UsageError(f"a head has 0 to {_MOST_LESIONS} lesions, not {lesions}", remedy="choose another number")
    if not 1 <= coarser <= 4:
        raise UsageError(f"pixels can be 1 to 4 times wider, not {coarser:g}", remedy="choose another factor")
    if day < 0:
        raise UsageError(f"the day of an examination is 0 or later, not {day}", remedy="count from the first")
    if faults.dose != 1:
        raise UsageError("an MR has no dose", remedy="leave it out, or take chest-ct")


def _gain(channel: str) -> float:
    """What white matter comes out as."""
    return {"T1": 1400.0, "T2": 700.0, "FLAIR": 800.0}[channel]


def _window(channel: str) -> tuple[float, float]:
    return {"T1": (950.0, 1500.0), "T2": (1200.0, 2200.0), "FLAIR": (900.0, 1600.0)}[channel]


def _fine_grid(spacing: float) -> Grid:
    shape = [round(field / spacing) for field in _FIELD]
    origin = [m - (n - 1) / 2 * spacing for m, n in zip(_MIDDLE, shape, strict=True)]
    return Grid((shape[0], shape[1], shape[2]), (spacing,) * 3, (origin[0], origin[1], origin[2]))


def _slices(rng: np.random.Generator, machine: Scanner, coarser: float) -> tuple[Array, tuple[int, int, int]]:
    """Where the slices lie: (4, 4) from index to LPS+ mm, and their shape. The head is never quite straight."""
    spacing = np.array([machine.pixel * coarser, machine.pixel * coarser, machine.distance])
    shape = [round(field / s) for field, s in zip(_FIELD, spacing, strict=True)]
    nod, turn, tilt = np.deg2rad(rng.normal(0, (6, 3, 3)))
    about_x = np.array([[1, 0, 0], [0, np.cos(nod), -np.sin(nod)], [0, np.sin(nod), np.cos(nod)]])
    about_y = np.array([[np.cos(tilt), 0, np.sin(tilt)], [0, 1, 0], [-np.sin(tilt), 0, np.cos(tilt)]])
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = about_z @ about_y @ about_x * spacing
    affine[:3, 3] = np.array(_MIDDLE) + rng.normal(0, 3, 3) - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, (shape[0], shape[1], shape[2])


def _seen(fine_values: Array, fine: Grid, affine: Array, shape: tuple[int, int, int], machine: Scanner) -> Array:
    """Values (I, J, K) of slices as thick as the scanner's: the mean of points across each slice."""
    from scipy.ndimage import map_coordinates

    to_fine = np.linalg.inv(np.diag([*fine.spacing, 1.0]))
    to_fine[:3, 3] = -np.divide(fine.origin, fine.spacing)
    total = np.zeros(shape)
    index = np.indices(shape, sparse=True)
    across = (np.arange(3) - 1) / 3 * machine.thickness
    for step in across:
        whole = to_fine @ affine
        points = [
            sum((whole[row, axis] * index[axis] for axis in range(3)), whole[row, 3] + whole[row, 2] * step)
            for row in range(3)
        ]
        total += map_coordinates(fine_values, points, order=1, mode="constant")
    return total / len(across)


def _labels(
    shares: Array, lesions: tuple[Lesion, ...], fine: Grid, affine: Array, shape: tuple[int, int, int], machine: Scanner
) -> Array:
    """The values of ``LABELS`` (I, J, K), uint8."""
    inside = np.stack([_seen(shares[tissue], fine, affine, shape, machine) for tissue in (CSF, GREY, WHITE)])
    inside[2] += _seen(shares[LESION], fine, affine, shape, machine)
    labels = np.where(inside.sum(axis=0) > 0.5, inside.argmax(axis=0) + 1, 0).astype(np.uint8)
    index = np.indices(shape, sparse=True)
    places = [sum((affine[row, axis] * index[axis] for axis in range(3)), affine[row, 3]) for row in range(3)]
    for lesion in lesions:
        labels[lesion_distance((places[0], places[1], places[2]), lesion) < 0] = 4
    return labels


def write_dataset(
    folder: str | Path,
    *,
    cases: int = 24,
    seed: int = 0,
    coarser: float = 1.0,
    faults: Faults = NO_FAULTS,
    times: int = 1,
    each: Callable[[], object] = nothing,
) -> None:
    """Write ``studies/<name>-<channel>.nii.gz``, the same as DICOM in ``dicom/<name>/<channel>/``,
    ``masks/<name>.nii.gz``, ``manifest.csv``, ``labels.json`` and ``truth.json``.

    The manifest has the columns image_T1, image_T2, image_FLAIR, mask, patient, scanner and lesions; day too, where
    there are several examinations of each patient, 180 days apart.

    ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for n in range(cases):
        own = case_seed(seed, n)
        for visit in range(times):
            phantom = make(own, coarser=coarser, faults=faults, day=visit * _INTERVAL)
            name = f"brain-{n + 1:03d}" + (f"-{visit + 1}" if times > 1 else "")
            _write_case(folder, name, phantom, f"PHANTOM-{own + 1:04d}")
            rows.append(_row(name, phantom, f"PHANTOM-{own + 1:04d}", times > 1))
            truth[name] = _truth(phantom, faults)
        each()
    write_answers(folder, "brain-mr", seed, rows=rows, truth=truth, labels=LABELS)


def _row(name: str, phantom: BrainPhantom, patient: str, serial: bool) -> dict[str, str]:
    row = {f"image_{channel}": f"studies/{name}-{channel.lower()}.nii.gz" for channel in CHANNELS}
    row |= {
        "mask": f"masks/{name}.nii.gz",
        "patient": patient,
        "scanner": phantom.scanner.model,
        "lesions": str(len(phantom.lesions)),
    }
    return {**row, "day": str(phantom.day)} if serial else row


def _truth(phantom: BrainPhantom, faults: Faults) -> dict[str, Any]:
    voxel = volume_per_voxel(phantom.mask.affine)
    counts = np.bincount(phantom.mask.array.ravel(), minlength=5)
    return {
        "seed": phantom.seed,
        "day": phantom.day,
        "faults": asdict(faults),
        "lesions": [
            {"centre_lps_mm": list(n.centre), "radii_mm": list(n.radii), "turn_rad": n.turn, "volume_mm3": n.volume}
            for n in phantom.lesions
        ],
        "mask_ml": {name: float(counts[value] * voxel / 1000) for value, name in LABELS.items()},
    }


def _write_case(folder: Path, name: str, phantom: BrainPhantom, patient: str) -> None:
    machine = phantom.scanner
    for number, (channel, image) in enumerate(phantom.images.items(), start=1):
        stored = replace(image, array=image.array.astype(np.int16))
        put_bytes(folder / "studies" / f"{name}-{channel.lower()}.nii.gz", encode(stored, ".nii.gz"))
        write_mr_series(
            image,
            folder / "dicom" / name / channel,
            key=f"brain/{phantom.seed}/{phantom.day}",
            series=channel,
            patient_id=patient,
            common={**_tags(machine, channel), "SeriesNumber": number},
            thickness=machine.distance * machine.thickness,
        )
    put_bytes(folder / "masks" / f"{name}.nii.gz", encode(phantom.mask, ".nii.gz"))


def _tags(machine: Scanner, channel: str) -> dict[str, Any]:
    """What the sequence and the scanner are, as DICOM attributes."""
    centre, width = _window(channel)
    tags: dict[str, Any] = {
        "Manufacturer": machine.manufacturer,
        "ManufacturerModelName": machine.model,
        "StudyDescription": "Osler brain phantom",
        "SeriesDescription": f"Axial {channel}",
        "BodyPartExamined": "HEAD",
        "MRAcquisitionType": "2D",
        "ScanOptions": "",
        "WindowCenter": f"{centre:g}",
        "WindowWidth": f"{width:g}",
    }
    if channel == "FLAIR":
        csf, (tr, te) = TISSUES["csf"].t1, machine.flair
        inversion = csf * np.log(2 / (1 + np.exp(-tr / csf)))
        own = {"ScanningSequence": ["SE", "IR"], "SequenceVariant": "SK", "InversionTime": f"{inversion:.1f}"}
    elif channel == "T2" or machine.spin_echo_t1:
        (tr, te), own = (machine.t2 if channel == "T2" else machine.t1[:2]), {"ScanningSequence": "SE"}
        own["SequenceVariant"] = "SK" if channel == "T2" else "NONE"
    else:
        tr, te, flip = machine.t1
        own = {"ScanningSequence": "GR", "SequenceVariant": "SP", "FlipAngle": f"{flip:g}"}
    return {**tags, **own, "RepetitionTime": f"{tr:g}", "EchoTime": f"{te:g}"}
