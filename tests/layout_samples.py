"""Small datasets in every layout, for tests."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import PIL.Image

from dicom_label_samples import write_seg, write_series

RNG = np.random.default_rng(0)


def picture(path: Path, *, value: int | None = None, size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = RNG.integers(0, 255, size[::-1]) if value is None else np.full(size[::-1], value)
    PIL.Image.fromarray(pixels.astype(np.uint8)).save(path)
    return path


def mask_picture(path: Path, values: tuple[int, ...] = (0, 255), size: tuple[int, int] = (12, 10)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.resize(np.array(values, np.uint8), size[::-1])
    PIL.Image.fromarray(pixels).save(path)
    return path


def volume(path: Path, *, labels: int = 0, shape: tuple[int, ...] = (6, 5, 4), shift: float = 0.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    voxels = RNG.integers(0, labels + 1, shape) if labels else RNG.normal(size=shape)
    affine = np.diag([1.0, 1, 2, 1])
    affine[0, 3] = shift
    nibabel.Nifti1Image(voxels.astype(np.uint8 if labels else np.float32), affine).to_filename(path)
    return path


def decathlon(root: Path, cases: int = 3) -> Path:
    pairs = []
    for n in range(cases):
        volume(root / f"imagesTr/liver_{n:03d}.nii.gz")
        volume(root / f"labelsTr/liver_{n:03d}.nii.gz", labels=2)
        pairs.append({"image": f"./imagesTr/liver_{n:03d}.nii.gz", "label": f"./labelsTr/liver_{n:03d}.nii.gz"})
    content = {"name": "Liver", "modality": {"0": "CT"}, "labels": {"0": "background", "1": "liver", "2": "tumour"}}
    (root / "dataset.json").write_text(json.dumps({**content, "training": pairs, "test": []}))
    return root


def nnunet(root: Path, cases: int = 3, **content: object) -> Path:
    for n in range(cases):
        for channel in range(2):
            volume(root / f"imagesTr/brain_{n:03d}_{channel:04d}.nii.gz")
        volume(root / f"labelsTr/brain_{n:03d}.nii.gz", labels=2)
    default = {"channel_names": {"0": "T1", "1": "FLAIR"}, "labels": {"background": 0, "oedema": 1, "tumour": 2}}
    (root / "dataset.json").write_text(json.dumps({**default, "file_ending": ".nii.gz", **content}))
    return root


def class_folders(root: Path) -> Path:
    for name in ("benign", "malignant"):
        for n in range(3):
            picture(root / name / f"{name}_{n}.png")
    return root


def images_and_masks(root: Path) -> Path:
    for n in range(3):
        picture(root / f"images/a{n}.png")
        mask_picture(root / f"masks/a{n}.png")
    return root


def medmnist(root: Path, labels: int = 1, depth: int | None = None, name: str = "newmnist.npz") -> Path:
    root.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for key, count in (("train", 8), ("val", 4), ("test", 4)):
        shape = (count, 8, 8) if depth is None else (count, depth, 8, 8)
        arrays[f"{key}_images"] = RNG.integers(0, 255, shape).astype(np.uint8)
        arrays[f"{key}_labels"] = (np.arange(count * labels).reshape(count, labels) % 2).astype(np.uint8)
    np.savez(root / name, **arrays)
    return root


def table(root: Path) -> Path:
    rows = ["image,label,patient"]
    for n in range(4):
        picture(root / f"p/{n}.png")
        rows.append(f"p/{n}.png,{'ab'[n % 2]},P{n}")
    (root / "manifest.csv").write_text("\n".join(rows))
    return root


def parquet(root: Path) -> Path:
    import pyarrow
    import pyarrow.parquet

    rows = [
        {"image": picture(root / f"p/{n}.png").name, "label": "ab"[n % 2], "patient": n, "age": 50 + n}
        for n in range(4)
    ]
    for row in rows:
        row["image"] = f"p/{row['image']}"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), root / "manifest.parquet")
    return root


def square(x: int, y: int, size: int) -> list[float]:
    return [x, y, x + size, y, x + size, y + size, x, y + size]


def coco(root: Path, **changes: object) -> Path:
    """Two pictures with shapes and one without, categories 3 and 7."""
    images = [{"id": n, "file_name": f"{n}.png", "width": 12, "height": 10} for n in range(3)]
    for image in images:
        picture(root / "images" / str(image["file_name"]))
    runs = {"size": [10, 12], "counts": [15, 3, 102]}
    shapes = [
        {"id": 1, "image_id": 0, "category_id": 3, "segmentation": [square(1, 2, 4)], "bbox": [1, 2, 4, 4]},
        {"id": 2, "image_id": 0, "category_id": 7, "segmentation": [square(3, 4, 5)], "bbox": [3, 4, 5, 5]},
        {"id": 3, "image_id": 1, "category_id": 7, "segmentation": runs, "bbox": [1, 5, 1, 3], "iscrowd": 1},
    ]
    categories = [{"id": 3, "name": "nucleus"}, {"id": 7, "name": "cell"}, {"id": 9, "name": "dust"}]
    content = {"images": images, "annotations": shapes, "categories": categories, **changes}
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    (root / "annotations/instances_train.json").write_text(json.dumps(content))
    return root


def voc(root: Path, names: str = "background\nheart\nlung\n") -> Path:
    for n in range(3):
        picture(root / f"JPEGImages/x{n}.png")
        mask_picture(root / f"SegmentationClass/x{n}.png", (0, 1, 2))
    (root / "class_names.txt").write_text(names)
    (root / "ImageSets/Segmentation").mkdir(parents=True)
    (root / "ImageSets/Segmentation/train.txt").write_text("x0\nx1\n")
    (root / "ImageSets/Segmentation/val.txt").write_text("x2\n")
    return root


def voc_boxes(root: Path) -> Path:
    for n, names in enumerate((["RBC", "WBC"], ["RBC"], [])):
        picture(root / f"images/x{n}.png")
        objects = "".join(f"<object><name>{name}</name><bndbox><xmin>1</xmin></bndbox></object>" for name in names)
        (root / "annotations").mkdir(parents=True, exist_ok=True)
        (root / f"annotations/x{n}.xml").write_text(f"<annotation><filename>x{n}.png</filename>{objects}</annotation>")
    return root


def bids(root: Path) -> Path:
    """Two sessions of two subjects, T1w and FLAIR on one grid, T2w on another, segmentations with their table."""
    for subject in ("01", "02"):
        for session in ("1", "2"):
            stem = f"sub-{subject}_ses-{session}"
            here = f"sub-{subject}/ses-{session}/anat"
            for suffix in ("T1w", "FLAIR"):
                volume(root / here / f"{stem}_{suffix}.nii.gz")
            volume(root / here / f"{stem}_T2w.nii.gz", shape=(3, 5, 4))
            volume(root / "derivatives/manual" / here / f"{stem}_space-orig_dseg.nii.gz", labels=2)
    (root / "derivatives/manual/dseg.tsv").write_text("index\tname\n1\tgrey matter\n2\tlesion\n")
    (root / "participants.tsv").write_text("participant_id\tage\tsex\tlabel\nsub-01\t44\tF\tx\nsub-02\tn/a\tM\ty\n")
    return root


def masks_per_class(root: Path) -> Path:
    """A folder per class; in a1 the tumour lies in the liver, in a2 there is none."""
    for n in range(3):
        picture(root / f"images/a{n}.png")
        mask_picture(root / f"masks/liver/a{n}.png", (255,))
        if n < 2:
            mask_picture(root / f"masks/tumour/a{n}.png", (0, 0, 255))
    return root


def dicom_series(root: Path) -> Path:
    for n in range(2):
        series = write_series(root / f"p{n}/ct", patient=f"p{n}", study=f"1.2.{n}")
        mask = np.zeros(series.shape, bool)
        mask[2:8, 2:8, 1:4] = True
        write_seg(root / f"p{n}/seg/seg.dcm", series, {"organ": mask})
    return root


MAKERS = {
    "dicom-tree": dicom_series,
    "csv": table,
    "parquet": parquet,
    "bids": bids,
    "coco": coco,
    "voc": voc,
    "masks-per-class": masks_per_class,
    "medmnist": medmnist,
    "nnunet": nnunet,
    "decathlon": decathlon,
    "image-mask-folders": images_and_masks,
    "class-folders": class_folders,
}
