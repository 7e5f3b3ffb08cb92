"""Data sets with known faults, made of real studies and phantoms: what was planted into which case is returned."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import nibabel
import numpy as np
from PIL import Image as Picture
from scipy.ndimage import gaussian_filter, label

from _faults import MASK_FAULTS, PICTURE_FAULTS, edited_copy
from _runs import DATA
from osler.studies.geometry import Array
from osler.studies.phantoms.chest_ct import make
from osler.studies.phantoms.dicom_series import write_ct_series

__all__ = ["Planted", "heart_pictures", "mammograms", "radiographs", "series", "sided_lungs", "volumes"]

EACH = 6
_ASIDE = "SC-N-06"
"""The patient of cardiac-mr whose masks lie aside as published."""
_ELSEWHERE = ("mirrored", "upside down", "shrunken", "bias field")
"""Heart slices lie, vary and are shaded (surface coils) so that these cannot be told; the volumes get them."""


@dataclass
class Planted:
    """A data set: where it lies, what finds the patient in a name, how many studies, and the cases by their fault."""

    name: str
    path: Path
    patient: str | None = None
    studies: int = 0
    faults: dict[str, list[str]] = field(default_factory=dict)

    def plant(self, fault: str, case: str) -> None:
        """Note a fault."""
        self.faults.setdefault(fault, []).append(case)


def _dealt(names: Sequence[str], faults: Sequence[str], rng: np.random.Generator) -> Iterator[tuple[str, str]]:
    """``EACH`` cases for every fault, no case twice."""
    drawn = iter(rng.permutation(len(names)).tolist())
    for fault in faults:
        for _ in range(EACH):
            yield fault, names[next(drawn)]


def _manifest(folder: Path, rows: Sequence[Mapping[str, str]]) -> None:
    with (folder / "manifest.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _save(path: Path, grey: Array) -> None:
    Picture.fromarray(np.clip(np.rint(grey), 0, 255).astype(np.uint8)).save(path)


def heart_pictures(folder: Path) -> Planted:
    """526 slices of 30 hearts with masks, 256 px, PNG; patients given."""
    rng = np.random.default_rng(0)
    planted = Planted("heart pictures", folder, "^(.+?)-IM")
    names = sorted(path.stem for path in (DATA / "cardiac-mr" / "images").iterdir())
    for part, end in (("imagesTr", "_0000"), ("labelsTr", "")):
        (folder / part).mkdir(parents=True)
        for name in names:
            original = DATA / "cardiac-mr" / ("images" if end else "masks") / f"{name}.png"
            pixels = np.asarray(Picture.open(original).convert("L"))
            Picture.fromarray(pixels if end else (pixels > 0).astype(np.uint8)).save(folder / part / f"{name}{end}.png")
    described = {
        "channel_names": {"0": "cine MR"},
        "labels": {"background": 0, "left ventricle": 1},
        "file_ending": ".png",
    }
    (folder / "dataset.json").write_text(json.dumps(described))
    patients = {name: name.split("-IM")[0] for name in names}
    extra = (
        "cut off",
        "empty file",
        "larger",
        "16-bit scale",
        "another modality",
        "exact copy",
        "near copy",
        "cropped mask",
    )
    sources = iter(sorted((DATA / "breast-ultrasound" / "benign").iterdir())[40:])
    spare = list(rng.permutation(names))
    for fault, name in _dealt(
        names, [*(f for f in (*PICTURE_FAULTS, *MASK_FAULTS, *extra) if f not in _ELSEWHERE)], rng
    ):
        planted.plant(fault, name)
    used = {name for cases in planted.faults.values() for name in cases}
    clean = [name for name in spare if name not in used]
    for fault, cases in list(planted.faults.items()):
        for name in list(cases):
            image, mask = folder / "imagesTr" / f"{name}_0000.png", folder / "labelsTr" / f"{name}.png"
            grey = np.asarray(Picture.open(image).convert("L"), float)
            if fault in PICTURE_FAULTS:
                _save(image, PICTURE_FAULTS[fault](grey, rng))
            elif fault in MASK_FAULTS:
                Picture.fromarray(MASK_FAULTS[fault](np.asarray(Picture.open(mask)), rng)).save(mask)
            elif fault in ("exact copy", "near copy"):
                source = next(one for one in clean if patients[one] != patients[name])
                clean.remove(source)
                original = np.asarray(Picture.open(folder / "imagesTr" / f"{source}_0000.png").convert("L"), float)
                _save(image, original if fault == "exact copy" else edited_copy(original, rng))
                shutil.copy(folder / "labelsTr" / f"{source}.png", mask)
                planted.plant(fault, source)
            elif fault == "another modality":
                Picture.open(next(sources)).convert("L").resize(grey.shape[::-1]).save(image)
            else:
                _damage(fault, image, mask, grey)
    _move_masks(planted, patients)
    planted.studies = len(names)
    return planted


def _move_masks(planted: Planted, patients: Mapping[str, str]) -> None:
    """All masks of one patient 11 pixels aside; those of another lie aside as published."""
    chosen = str(np.random.default_rng(7).choice(sorted(set(patients.values()) - {_ASIDE})))
    for name, patient in patients.items():
        if patient in (chosen, _ASIDE):
            planted.plant("mask aside", name)
        if patient == chosen:
            mask = planted.path / "labelsTr" / f"{name}.png"
            Picture.fromarray(np.roll(np.asarray(Picture.open(mask)), (-7, 9), axis=(0, 1))).save(mask)


def _damage(fault: str, image: Path, mask: Path, grey: Array) -> None:
    if fault == "cut off":
        image.write_bytes(image.read_bytes()[: image.stat().st_size * 3 // 5])
    elif fault == "empty file":
        image.write_bytes(b"")
    elif fault == "16-bit scale":
        Picture.fromarray((grey * 200).astype(np.uint16)).save(image)
    elif fault == "cropped mask":
        Picture.fromarray(np.asarray(Picture.open(mask))[:-5]).save(mask)
    elif fault == "larger":
        for path, how in ((image, Picture.Resampling.BILINEAR), (mask, Picture.Resampling.NEAREST)):
            picture = Picture.open(path)
            picture.resize((picture.width * 2, picture.height * 2), how).save(path)


_VOLUME_FAULTS = (
    "cut off",
    "grid 0.0001 voxel off",
    "grid 0.1 voxel off",
    "grid 3 voxels off",
    "spacing",
    "cut to half",
    "blank slices",
    "not a number",
    "upside down",
    "scaled intensities",
    "exact copy",
    "near copy",
    "empty mask",
    "foreign label",
    "islands",
    "shrunken",
    "bias field",
)


def volumes(folder: Path) -> Planted:
    """207 hippocampi, T1 MR, NIfTI in the Decathlon's layout."""
    rng = np.random.default_rng(1)
    planted = Planted("hippocampi", folder)
    shutil.copytree(DATA / "hippocampus", folder)
    names = sorted(path.name[:-7] for path in (folder / "imagesTr").glob("hippo*.nii.gz"))
    for fault, name in _dealt(names, _VOLUME_FAULTS, rng):
        planted.plant(fault, name)
    used = {name for cases in planted.faults.values() for name in cases}
    clean = [name for name in rng.permutation(names).tolist() if name not in used]
    for fault, cases in list(planted.faults.items()):
        for name in list(cases):
            if fault in ("exact copy", "near copy"):
                source = clean.pop()
                for part in ("imagesTr", "labelsTr"):
                    shutil.copy(folder / part / f"{source}.nii.gz", folder / part / f"{name}.nii.gz")
                if fault == "near copy":
                    _rewrite(
                        folder / "imagesTr" / f"{name}.nii.gz",
                        lambda v: 1.1 * v + rng.normal(0, 0.02 * v.std(), v.shape),
                    )
                planted.plant(fault, source)
            else:
                _spoil(fault, folder, name, rng)
    planted.studies = len(names)
    return planted


def _rewrite(path: Path, change, affine=None) -> None:  # type: ignore[no-untyped-def]
    file = nibabel.load(path)
    voxels = np.asarray(file.dataobj)
    changed = np.asarray(change(voxels))
    matrix = file.affine if affine is None else affine(file.affine)
    nibabel.save(
        nibabel.Nifti1Image(changed.astype(np.float32 if changed.dtype.kind == "f" else changed.dtype), matrix), path
    )


def _moved(voxels: float):  # type: ignore[no-untyped-def]
    def move(affine: Array) -> Array:
        shifted = affine.copy()
        shifted[:3, 3] += voxels * affine[:3, 0]
        return shifted

    return move


def _halved(voxels: Array) -> Array:
    return voxels[:, : voxels.shape[1] // 2]


def _gap(voxels: Array) -> Array:
    gap = voxels.astype(np.float32)
    axis = int(2 - np.argmin(voxels.shape[::-1]))
    middle = voxels.shape[axis] // 2
    np.moveaxis(gap, axis, 0)[middle : middle + 3] = 0
    return gap


def _shaded(voxels: Array) -> Array:
    """Six times as bright at one end of the second axis as at the other."""
    return voxels * np.linspace(1, 6, voxels.shape[1])[None, :, None]


def _nan(voxels: Array) -> Array:
    spoilt = voxels.astype(np.float32)
    spoilt[3, 3, 3] = np.nan
    return spoilt


def _spoil(fault: str, folder: Path, name: str, rng: np.random.Generator) -> None:
    image, mask = (folder / part / f"{name}.nii.gz" for part in ("imagesTr", "labelsTr"))
    if fault == "cut off":
        image.write_bytes(image.read_bytes()[: image.stat().st_size // 2])
    elif fault.startswith("grid"):
        _rewrite(mask, lambda v: v, _moved(float(fault.split()[1])))
    elif fault == "spacing":
        for path in (image, mask):
            _rewrite(path, lambda v: v, lambda a: a @ np.diag([1, 1, 2.0, 1]))
    elif fault == "cut to half":
        for path in (image, mask):
            _rewrite(path, _halved)
    elif fault == "upside down":
        for path in (image, mask):
            _rewrite(path, lambda v: v[:, :, ::-1])
    elif fault in MASK_FAULTS:
        _rewrite(mask, lambda v: MASK_FAULTS[fault](v.astype(np.uint8), rng))
    else:
        _rewrite(
            image,
            {
                "blank slices": _gap,
                "not a number": _nan,
                "scaled intensities": lambda v: v * 3000.0,
                "bias field": _shaded,
            }[fault],
        )


def radiographs(folder: Path) -> Planted:
    """480 chest radiographs of 28 px with answers, patients and a given split; no two have the same pixels."""
    rng = np.random.default_rng(2)
    planted = Planted("radiographs", folder)
    folder.mkdir(parents=True)
    with np.load(next((DATA / "pneumoniamnist").glob("*.npz"))) as file:
        images, first = np.unique(file["train_images"], axis=0, return_index=True)
        labels = file["train_labels"].reshape(-1)[first]
    chosen = rng.permutation(len(images))[:480]
    rows = []
    for number, place in enumerate(chosen.tolist()):
        split = "train" if number < 320 else "validation" if number < 400 else "test"
        rows.append(
            {"image": f"r{number:03d}.png", "label": str(int(labels[place])), "patient": f"P{number}", "split": split}
        )
        _save(folder / f"r{number:03d}.png", images[place])
    kinds = (
        "copy across",
        "near copy across",
        "patient on both sides",
        "copy within",
        "copy with another answer",
        "near copy within",
        "empty file",
    )
    training, tested = iter(rng.permutation(320).tolist()), iter((320 + rng.permutation(160)).tolist())
    for kind in kinds:
        for _ in range(EACH):
            one = next(training)
            other = next(tested) if "across" in kind or "both" in kind else next(training)
            _entangle(kind, folder, rows, one, other, rng)
            for number in (one,) if kind == "empty file" else (one, other):
                planted.plant(kind, f"r{number:03d}")
    _manifest(folder, rows)
    planted.studies = len(rows)
    return planted


def _entangle(
    kind: str, folder: Path, rows: list[dict[str, str]], one: int, other: int, rng: np.random.Generator
) -> None:
    grey = np.asarray(Picture.open(folder / rows[one]["image"]), float)
    if kind == "empty file":
        (folder / rows[one]["image"]).write_bytes(b"")
    elif kind == "patient on both sides":
        rows[other]["patient"] = rows[one]["patient"]
    else:
        near = kind.startswith("near")
        _save(folder / rows[other]["image"], 0.92 * grey + 8 + rng.normal(0, 2, grey.shape) if near else grey)
        if "across" not in kind:  # copies of one patient, so that nothing else is wrong with them
            rows[other]["patient"] = rows[one]["patient"]
        if near and "within" in kind:
            rows[other]["patient"] = f"{rows[one]['patient']}b"
        same = rows[one]["label"]
        rows[other]["label"] = same if "another answer" not in kind else str(1 - int(same))


def mammograms(folder: Path) -> Planted:
    """96 drawn mammograms as DICOM, half of each side, each with its side in the header; patients by PatientID."""
    rng = np.random.default_rng(3)
    planted = Planted("mammograms", folder)
    folder.mkdir(parents=True)
    rows = []
    wrong = dict(
        zip(
            rng.permutation(96)[: 3 * EACH].tolist(),
            ["side"] * EACH + ["modality"] * EACH + ["patient"] * EACH,
            strict=True,
        )
    )
    for number in range(96):
        side, name = "LR"[number % 2], f"m{number:02d}"
        fault = wrong.get(number)
        told = {"L": "R", "R": "L"}[side] if fault == "side" else side
        patient = "TORN" if fault == "patient" else f"P{number}"
        modality = "US" if fault == "modality" else "MG"
        _write_mammogram(folder / f"{name}.dcm", _breast(side, rng), told, patient, modality)
        if fault:
            planted.plant(
                {"side": "wrong side", "modality": "wrong modality", "patient": "PatientID on both sides"}[fault], name
            )
        rows.append(
            {"image": f"{name}.dcm", "label": str(int(rng.integers(2))), "split": "test" if number >= 64 else "train"}
        )
    torn = {rows[int(name[1:])]["split"] for name in planted.faults["PatientID on both sides"]}
    if len(torn) < 2:
        raise RuntimeError("the drawn patients are all on one side; draw again")
    _manifest(folder, rows)
    planted.studies = len(rows)
    return planted


def _breast(side: str, rng: np.random.Generator) -> Array:
    """(96, 72) uint16: half an ellipse that begins at the chest wall, with glands."""
    y, x = np.meshgrid(np.linspace(-1, 1, 96), np.linspace(0, 1, 72), indexing="ij")
    width, height, middle = rng.uniform(0.6, 0.85), rng.uniform(0.6, 0.85), rng.uniform(-0.15, 0.15)
    inside = (x / width) ** 2 + ((y - middle) / height) ** 2 < 1
    glands = gaussian_filter(rng.normal(0, 1, inside.shape), 4)
    tissue = (0.45 + 1.2 * np.clip(glands / glands.std() * 0.12 + 0.2, 0, 0.4)) * inside
    picture = gaussian_filter(tissue, 0.7) * 3000 + rng.normal(60, 15, inside.shape)
    picture = np.clip(picture, 0, 4095).astype(np.uint16)
    return picture if side == "L" else picture[:, ::-1]


def _write_mammogram(path: Path, pixels: Array, side: str, patient: str, modality: str) -> None:
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.uid import UID, ExplicitVRLittleEndian, generate_uid

    data = Dataset()
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    data.SOPClassUID = UID("1.2.840.10008.5.1.4.1.1.1.2")
    data.SOPInstanceUID = generate_uid(entropy_srcs=[path.name])
    data.StudyInstanceUID = generate_uid(entropy_srcs=[path.name, "study"])
    data.SeriesInstanceUID = generate_uid(entropy_srcs=[path.name, "series"])
    data.Modality, data.ImageLaterality, data.PatientID, data.PatientName = modality, side, patient, "Phantom"
    data.Rows, data.Columns = pixels.shape
    data.SamplesPerPixel, data.PhotometricInterpretation, data.PixelRepresentation = 1, "MONOCHROME2", 0
    data.BitsAllocated, data.BitsStored, data.HighBit = 16, 12, 11
    data.ImagerPixelSpacing = ["2", "2"]
    data.PixelData = np.ascontiguousarray(pixels).tobytes()
    data.save_as(path, enforce_file_format=True)


def sided_lungs(folder: Path) -> Planted:
    """48 chest CT phantoms, NIfTI, with the left and the right lung as labels; four masks lie 5 voxels aside."""
    rng = np.random.default_rng(4)
    planted = Planted("lungs", folder)
    folder.mkdir(parents=True)
    (folder / "labels.json").write_text(json.dumps({"1": "left lung", "2": "right lung"}))
    wrong = rng.permutation(48)
    swapped, mirrored = set(wrong[:EACH].tolist()), set(wrong[EACH : EACH + 4].tolist())
    aside = set(wrong[EACH + 4 : EACH + 8].tolist())
    rows = []
    for number in range(48):
        phantom = make(100 + number, size=(40, 40, 20))
        lungs = phantom.mask.array[0] == 1
        affine = phantom.image.affine
        sides = _sides(lungs, affine)
        if number in swapped:
            sides = np.where(sides > 0, 3 - sides, 0).astype(np.uint8)
            planted.plant("labels swapped", f"v{number:02d}_image")
        if number in aside:
            sides = np.pad(sides, ((0, 0), (5, 0), (0, 0)))[:, :-5]
            planted.plant("mask aside", f"v{number:02d}_image")
        if number in mirrored:  # the header says left where the voxels show right
            affine = np.diag([-1.0, 1, 1, 1]) @ affine
            planted.plant("mirrored header", f"v{number:02d}_image")
        nibabel.save(nibabel.Nifti1Image(phantom.image.array[0], affine), folder / f"v{number:02d}_image.nii.gz")
        nibabel.save(nibabel.Nifti1Image(sides, affine), folder / f"v{number:02d}_mask.nii.gz")
        rows.append(
            {"image": f"v{number:02d}_image.nii.gz", "mask": f"v{number:02d}_mask.nii.gz", "patient": f"P{number}"}
        )
    _manifest(folder, rows)
    planted.studies = len(rows)
    return planted


def _sides(lungs: Array, affine: Array) -> Array:
    """1 in the left lung, 2 in the right one: by the middle of each piece, or by the middle of all where they touch."""
    i, j, k = np.meshgrid(*map(np.arange, lungs.shape), indexing="ij")
    x = affine[0, 0] * i + affine[0, 1] * j + affine[0, 2] * k + affine[0, 3]
    middle = np.median(x[lungs])
    pieces, count = label(lungs)
    if np.bincount(pieces[lungs]).max() > 0.8 * lungs.sum():
        return np.where(lungs, np.where(x < middle, 1, 2), 0).astype(np.uint8)
    sides = np.zeros(lungs.shape, np.uint8)
    for piece in range(1, count + 1):
        sides[pieces == piece] = 1 if x[pieces == piece].mean() < middle else 2
    return sides


def series(folder: Path) -> Planted:
    """36 chest CT phantoms as DICOM series; some without a slice, with a second series, or with a file cut off."""
    rng = np.random.default_rng(5)
    planted = Planted("series", folder, "none")
    rows = []
    faults = dict(
        zip(rng.permutation(36).tolist(), ["lost slice"] * 6 + ["two series"] * 6 + ["cut off"] * 6, strict=False)
    )
    for number in range(36):
        place = folder / f"s{number:02d}"
        place.mkdir(parents=True)
        phantom = make(200 + number, size=(32, 32, 16))
        equipment = {"Manufacturer": "Phantom", "ManufacturerModelName": "One"}
        files = write_ct_series(
            phantom.image, place, key=f"s{number}", patient_id=f"ID{number:04d}", equipment=equipment
        )
        fault = faults.get(number)
        if fault == "lost slice":
            files[len(files) // 2].unlink()
        elif fault == "two series":
            other = folder.parent / "other"
            other.mkdir(exist_ok=True)
            second = write_ct_series(
                phantom.image, other, key=f"t{number}", patient_id=f"ID{number:04d}", equipment=equipment
            )
            for file in second[:3]:
                shutil.move(file, place / f"second-{file.name}")
        elif fault == "cut off":
            files[3].write_bytes(files[3].read_bytes()[: files[3].stat().st_size * 2 // 3])
        if fault:
            planted.plant(fault, f"s{number:02d}")
        rows.append({"image": place.name, "label": str(number % 2), "patient": f"P{number}"})
    _manifest(folder, rows)
    planted.studies = len(rows)
    return planted
