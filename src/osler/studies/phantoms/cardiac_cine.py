"""A cardiac cine MR that nobody has: short-axis slices of a beating heart with known volumes and ejection fraction.

    phantom = make(seed=7, ejection=0.35)        # frames, their masks, the volumes that were asked for
    write_dataset("demo/cine", cases=12)         # NIfTI, DICOM series, masks and a manifest.csv

The left ventricle's cavity is half an ellipsoid, 2/3 π a² L. Its volume follows a curve of ejection, filling and the
atria's kick; the base moves towards the apex; the volume of the muscle never changes, so that its wall thickens. The
right ventricle lies around it. Blood and tissues have the signal of balanced steady-state free precession
(``mr_signal``). At end-diastole and end-systole the base lies between two slices, so that what slices miss is small.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.formats.nifti import encode
from osler.studies.geometry import LPS_TO_RAS, Array, volume_per_voxel
from osler.studies.image import Image
from osler.studies.phantoms.cardiac_anatomy import (
    LEFT,
    MUSCLE,
    RIGHT,
    Heart,
    draw_heart,
    paint_chest_slices,
    paint_heart,
)
from osler.studies.phantoms.degrade import NO_FAULTS, Faults, bias_field, mr_motion, rician
from osler.studies.phantoms.dicom_series import write_mr_series
from osler.studies.phantoms.files import case_seed, empty_folder, nothing, put_bytes, write_answers
from osler.studies.phantoms.mr_signal import CHEST, balanced

__all__ = ["LABELS", "SCANNERS", "CinePhantom", "Scanner", "make", "volume_curve", "write_dataset"]

LABELS = {RIGHT: "right ventricle", MUSCLE: "myocardium", LEFT: "left ventricle"}
_SLICES, _FIELD = 12, 230.0  # mm
_GAIN = 5000.0
_LARGEST = 4095
_REDUCED = 0.5  # an ejection fraction below this


@dataclass(frozen=True)
class Scanner:
    """How an invented scanner sees: pixels per row, slice distance (mm), flip angle (degrees), noise as a share of
    blood, how uneven its coil is."""

    manufacturer: str
    model: str
    pixels: int
    distance: float
    flip: float
    noise: float
    bias: float


SCANNERS = (
    Scanner("Aster Imaging", "Aster MR 1", 144, 8.0, 55, 0.025, 0.3),
    Scanner("Borea Medical", "Borea Tor", 128, 10.0, 45, 0.05, 0.5),
    Scanner("Cirrus", "Cirrus MR-V", 160, 9.0, 60, 0.035, 0.4),
)


@dataclass(frozen=True)
class CinePhantom:
    """A phantom and everything that is true of it.

    ``frames`` and ``masks`` are in time from end-diastole: each image (1, I, J, K), uint16 0 to 4095 and uint8 with
    the values of ``LABELS``; K runs from apex to base. ``volumes_ml`` are those of the left ventricle's cavity,
    papillary muscles included, per frame. ``interval`` is the RR interval in s.
    """

    frames: tuple[Image, ...]
    masks: tuple[Image, ...]
    volumes_ml: tuple[float, ...]
    heart: Heart
    interval: float
    scanner: Scanner
    seed: int

    @property
    def systole(self) -> int:
        """The frame of end-systole; end-diastole is frame 0."""
        return int(np.argmin(self.volumes_ml))

    @property
    def ejection(self) -> float:
        """The ejection fraction, 0 to 1."""
        return 1 - self.volumes_ml[self.systole] / self.volumes_ml[0]


def volume_curve(moments: Array) -> Array:
    """How full the ventricle is, from 1 at end-diastole to 0 at end-systole, at moments of the beat (0 to 1).

    It empties until 0.35, rests until 0.43, fills fast, then slowly, and is topped up by the atria.
    """
    from scipy.interpolate import PchipInterpolator

    times = [0, 0.06, 0.18, 0.3, 0.35, 0.43, 0.5, 0.6, 0.72, 0.86, 0.94, 1]
    shares = [1, 0.93, 0.45, 0.05, 0, 0, 0.3, 0.68, 0.76, 0.8, 0.95, 1]
    return np.asarray(PchipInterpolator(times, shares)(moments))


def make(
    seed: int,
    *,
    ejection: float | None = None,
    volume_ml: float | None = None,
    frames: int = 20,
    scanner: int | None = None,
    faults: Faults = NO_FAULTS,
) -> CinePhantom:
    """Draw a heart, film it.

    Args:
        seed: the same seed gives the same phantom.
        ejection: the left ventricle's ejection fraction, 0.15 to 0.75; None leaves it to chance, reduced in half.
        volume_ml: its end-diastolic volume, 80 to 300; None leaves it to chance.
        frames: 14 or more, so that one is at end-systole.
        scanner: index into ``SCANNERS``; None leaves it to chance.
        faults: a patient who moves, a coil more uneven than the scanner's own (a bias of 0 leaves that as it is).

    Raises:
        UsageError: for values outside these limits, a lower dose.
    """
    _check(ejection, volume_ml, frames, faults)
    rng = np.random.default_rng(seed)
    machine = SCANNERS[int(rng.integers(len(SCANNERS))) if scanner is None else scanner]
    reduced = bool(rng.random() < 0.5)
    drawn = float(rng.uniform(0.2, 0.44) if reduced else rng.uniform(0.55, 0.7))
    share = drawn if ejection is None else ejection
    by_chance = float(rng.uniform(170, 260) if share < _REDUCED else rng.uniform(105, 165))
    full = by_chance if volume_ml is None else volume_ml
    heart = draw_heart(rng, full, share, machine.distance)
    interval = float(rng.uniform(0.7, 1.05))
    affine, shape = _slices(rng, machine, heart)
    filled = volume_curve(np.arange(frames) / frames)
    field = bias_field(rng, shape, faults.bias or machine.bias)
    spacing = (float(np.linalg.norm(affine[:3, 0])),) * 2
    around = paint_chest_slices(shape, spacing[0], heart)
    sequence = balanced(machine.flip)
    blood = sequence(CHEST["blood"])
    images, masks, volumes = [], [], []
    for now in filled:
        signal, labels = paint_heart(around, shape, spacing[0], heart, float(now), sequence)
        moved = mr_motion(rng, signal * field, spacing, faults.motion)
        noisy = rician(rng, moved, machine.noise * blood) * _GAIN
        images.append(_image(np.clip(np.rint(noisy), 0, _LARGEST).astype(np.uint16), affine, _GAIN * blood))
        masks.append(Image(labels[None], LPS_TO_RAS @ affine))
        volumes.append(full * (1 - share * (1 - float(now))))
    return CinePhantom(tuple(images), tuple(masks), tuple(volumes), heart, interval, machine, seed)


def _check(ejection: float | None, volume_ml: float | None, frames: int, faults: Faults) -> None:
    if ejection is not None and not 0.15 <= ejection <= 0.75:
        raise UsageError(f"an ejection fraction is 0.15 to 0.75 here, not {ejection:g}", remedy="choose another")
    if volume_ml is not None and not 80 <= volume_ml <= 300:
        raise UsageError(f"a ventricle holds 80 to 300 ml here, not {volume_ml:g}", remedy="choose another volume")
    if frames < 14:
        raise UsageError(f"a beat has 14 frames or more, not {frames}", remedy="choose another number")
    if faults.dose != 1:
        raise UsageError("an MR has no dose", remedy="leave it out, or take chest-ct")


def _image(values: Array, affine: Array, blood: float) -> Image:
    return Image(values[None], LPS_TO_RAS @ affine, "MR", window=(round(0.75 * blood), round(1.5 * blood)))


def _slices(rng: np.random.Generator, machine: Scanner, heart: Heart) -> tuple[Array, tuple[int, int, int]]:
    """Where the slices lie: (4, 4) from index to LPS+ mm, and their shape. K runs from the apex to the base."""
    out = np.array([-0.66, 0.55, 0.51]) + rng.normal(0, 0.05, 3)  # the long axis, towards the base
    out /= np.linalg.norm(out)
    right = np.array([0.7, 0.7, 0.1]) - out * float(np.array([0.7, 0.7, 0.1]) @ out)
    right /= np.linalg.norm(right)
    pixel = round(_FIELD / machine.pixels, 3)
    affine = np.eye(4)
    affine[:3, :3] = np.stack([right, np.cross(out, right), out], axis=1) * [pixel, pixel, machine.distance]
    shape = (machine.pixels, machine.pixels, _SLICES)
    middle = np.array([30.0, -35.0, -20.0]) + rng.normal(0, 6, 3)
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine, shape


def write_dataset(
    folder: str | Path,
    *,
    cases: int = 12,
    seed: int = 0,
    frames: int = 20,
    faults: Faults = NO_FAULTS,
    each: Callable[[], object] = nothing,
) -> None:
    """Write both phases as ``studies/<name>-ed.nii.gz`` and ``-es``, their masks in ``masks/``, the whole film as
    ``cine/<name>.nii.gz`` and ``<name>-mask.nii.gz`` (time is the fourth axis, in s) and as one DICOM series in
    ``dicom/<name>/``, ``manifest.csv``, ``labels.json`` and ``truth.json``.

    Every second heart empties badly. The manifest has a row per phase with the columns image, mask, label (reduced or
    preserved), patient, scanner, phase, volume_ml and ejection_percent. ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for n in range(cases):
        own = case_seed(seed, n)
        rng = np.random.default_rng([own, 1])
        ejection = float(rng.uniform(0.2, 0.44) if n % 2 else rng.uniform(0.55, 0.7))
        phantom = make(own, ejection=ejection, frames=frames, faults=faults)
        name, patient = f"cine-{n + 1:03d}", f"PHANTOM-{own + 1:04d}"
        for phase, frame in (("ed", 0), ("es", phantom.systole)):
            stored = replace(phantom.frames[frame], array=phantom.frames[frame].array.astype(np.int16))
            put_bytes(folder / "studies" / f"{name}-{phase}.nii.gz", encode(stored, ".nii.gz"))
            put_bytes(folder / "masks" / f"{name}-{phase}.nii.gz", encode(phantom.masks[frame], ".nii.gz"))
            rows.append(_row(name, phase, phantom, frame, patient))
        _write_film(folder, name, phantom, patient)
        truth[name] = _truth(phantom, faults)
        each()
    write_answers(folder, "cardiac-cine", seed, rows=rows, truth=truth, labels=LABELS)


def _row(name: str, phase: str, phantom: CinePhantom, frame: int, patient: str) -> dict[str, str]:
    return {
        "image": f"studies/{name}-{phase}.nii.gz",
        "mask": f"masks/{name}-{phase}.nii.gz",
        "label": "reduced" if phantom.ejection < _REDUCED else "preserved",
        "patient": patient,
        "scanner": phantom.scanner.model,
        "phase": phase,
        "volume_ml": f"{phantom.volumes_ml[frame]:.1f}",
        "ejection_percent": f"{100 * phantom.ejection:.1f}",
    }


def _truth(phantom: CinePhantom, faults: Faults) -> dict[str, Any]:
    voxel = volume_per_voxel(phantom.masks[0].affine) / 1000
    return {
        "seed": phantom.seed,
        "faults": asdict(faults),
        "rr_s": phantom.interval,
        "end_systolic_frame": phantom.systole,
        "ejection_fraction": phantom.ejection,
        "left_ventricle_ml": list(phantom.volumes_ml),
        "left_ventricle_mask_ml": [float((mask.array == LEFT).sum() * voxel) for mask in phantom.masks],
        "myocardium_ml": phantom.heart.muscle_ml,
    }


def _film_bytes(images: tuple[Image, ...], interval: float) -> bytes:
    """All frames as one NIfTI with time as the fourth axis, in seconds."""
    import gzip

    import nibabel

    stack = np.stack([image.array[0] for image in images], axis=-1)
    stored = stack if stack.dtype == np.uint8 else stack.astype(np.int16)
    file = nibabel.Nifti1Image(stored, images[0].affine, dtype=stored.dtype)
    file.set_sform(images[0].affine, code=1)
    file.set_qform(images[0].affine, code=1)
    file.header.set_xyzt_units("mm", "sec")
    file.header["pixdim"][4] = interval / len(images)
    return gzip.compress(file.to_bytes(), compresslevel=4, mtime=0)


def _write_film(folder: Path, name: str, phantom: CinePhantom, patient: str) -> None:
    put_bytes(folder / "cine" / f"{name}.nii.gz", _film_bytes(phantom.frames, phantom.interval))
    put_bytes(folder / "cine" / f"{name}-mask.nii.gz", _film_bytes(phantom.masks, phantom.interval))
    machine, milliseconds = phantom.scanner, phantom.interval * 1000
    centre, width = phantom.frames[0].window or (2000.0, 4000.0)
    common = {
        "Manufacturer": machine.manufacturer,
        "ManufacturerModelName": machine.model,
        "StudyDescription": "Osler cardiac phantom",
        "SeriesDescription": "Cine short axis",
        "BodyPartExamined": "HEART",
        "ScanningSequence": "GR",
        "SequenceVariant": ["SS", "SP"],
        "ScanOptions": "CG",
        "MRAcquisitionType": "2D",
        "RepetitionTime": "3.2",
        "EchoTime": "1.6",
        "FlipAngle": f"{machine.flip:g}",
        "NominalInterval": str(round(milliseconds)),
        "CardiacNumberOfImages": len(phantom.frames),
        "WindowCenter": f"{centre:g}",
        "WindowWidth": f"{width:g}",
    }
    for number, frame in enumerate(phantom.frames):
        write_mr_series(
            frame,
            folder / "dicom" / name,
            key=f"cine/{phantom.seed}",
            series="sax",
            patient_id=patient,
            common={
                **common,
                "TriggerTime": f"{milliseconds * number / len(phantom.frames):.3f}",
                "TemporalPositionIdentifier": number + 1,
                "NumberOfTemporalPositions": len(phantom.frames),
            },
            first=number * frame.shape[2],
        )
