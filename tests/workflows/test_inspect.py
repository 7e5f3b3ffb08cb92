"""What inspection finds in datasets that have a known fault."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image as Picture

from osler.datasets.dataset import Dataset
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.errors import OutputExists, PathNotFound
from osler.workflows.inspect import inspect

CLASSES = LabelSet(kind="classes", labels=(Label(name="benign", value=0), Label(name="malignant", value=1)))
BLOB = LabelSet(kind="mask", labels=(Label(name="blob", value=1),))


def picture(seed, shape=(24, 20)):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


@pytest.fixture
def classes(tmp_path):
    """Makes a dataset of 24 pictures, 12 of each class, with changes to single records by number."""

    def make(changes=None, arrays=None, **manifest):
        records = []
        for n in range(24):
            Picture.fromarray((arrays or {}).get(n, picture(n))).save(tmp_path / f"p{n}.png")
            record = Record(name=f"p{n}", images={"image": ImageRef(path=f"p{n}.png")}, target=n % 2, patient=f"P{n}")
            records.append(record.model_copy(update=(changes or {}).get(n, {})))
        options = {"patients": "given", "labels": CLASSES} | manifest
        return Dataset(Manifest(name="d", root=tmp_path, layout="test", records=tuple(records), **options))

    return make


@pytest.fixture
def masks(tmp_path):
    """Makes a dataset of 12 pictures with masks; ``change`` alters a mask by number."""

    def make(change=lambda n, mask: mask):
        records = []
        for n in range(12):
            mask = np.zeros((24, 20), np.uint8)
            mask[5:12, 4:9] = 1
            Picture.fromarray(picture(n)).save(tmp_path / f"i{n}.png")
            Picture.fromarray(change(n, mask)).save(tmp_path / f"m{n}.png")
            images, mask_ref = {"image": ImageRef(path=f"i{n}.png")}, ImageRef(path=f"m{n}.png")
            records.append(Record(name=f"s{n}", images=images, mask=mask_ref, patient=f"P{n}"))
        manifest = Manifest(
            name="m", root=tmp_path, layout="test", labels=BLOB, records=tuple(records), patients="given"
        )
        return Dataset(manifest)

    return make


def problem(found, words):
    matching = [p for p in found.problems if words in p.what]
    assert len(matching) == 1, [p.what for p in found.problems]
    return matching[0]


def test_a_clean_dataset_has_no_problems_and_a_plan_with_reasons(classes):
    found = inspect(classes())
    assert found.problems == ()
    assert found.patients == 24
    assert found.classes == {"unassigned": {"benign": 12, "malignant": 12}}
    assert found.plan.task == "classify"
    text = "\n".join(found.summary())
    assert "No problems found" in text
    assert "cost model, not measured" in text
    assert "  grid:" in text


def test_a_damaged_file_is_listed_with_its_reason(classes, tmp_path):
    dataset = classes()
    (tmp_path / "p3.png").write_bytes(b"\x89PNG damaged")
    found = problem(inspect(dataset), "cannot be read")
    assert (found.severity, found.cases) == ("error", ("p3",))
    assert "p3.png" in found.details["p3"]


def test_blank_pictures_are_found(classes):
    found = problem(inspect(classes(arrays={5: np.full((24, 20), 9, np.uint8)})), "blank")
    assert (found.severity, found.cases) == ("error", ("p5",))


def test_copies_on_both_sides_of_a_split_are_an_error(classes):
    changes = {n: {"split": "test" if n > 20 else "train"} for n in range(24)}
    found = inspect(classes(changes, arrays={1: picture(23)}))
    copies = problem(found, "both sides of the given split")
    assert (copies.severity, copies.cases) == ("error", ("p1", "p23"))
    assert found.duplicates[0].across
    assert found.splits == {"train": 21, "test": 3}


def test_copies_with_two_answers_or_two_patients_are_warnings_and_plain_copies_a_note(classes):
    changes = {1: {"patient": "P2"}, 5: {"patient": "P7"}}
    found = inspect(classes(changes, arrays={1: picture(2), 5: picture(7), 9: picture(11)}))
    assert problem(found, "different answers").cases == ("p1", "p2")
    assert problem(found, "under different patients").cases == ("p9", "p11")
    assert problem(found, "exact copies").cases == ("p5", "p7")
    assert [p.severity for p in found.problems] == ["warning", "warning", "note"]


def test_a_patient_on_both_sides_is_an_error(classes):
    changes = {n: {"split": "test" if n > 20 else "train"} for n in range(24)}
    changes[22]["patient"] = "P0"
    found = problem(inspect(classes(changes)), "1 patients who are on both sides")
    assert (found.severity, found.cases) == ("error", ("p0", "p22"))


def test_unknown_patients_and_small_classes_are_warnings(classes):
    changes = {n: {"patient": None, "target": int(n < 4)} for n in range(24)}
    found = inspect(classes(changes, patients="unknown"))
    assert "--patient" in problem(found, "which images are of one patient").remedy
    assert "malignant (4)" in problem(found, "fewer than 10").what
    assert found.patients is None


def test_cases_without_an_answer_are_counted(classes):
    assert problem(inspect(classes({3: {"target": None}})), "no answer").cases == ("p3",)


def test_faults_of_masks_are_told_apart(masks):
    def change(n, mask):
        if n == 2:
            return mask * 0
        if n == 3:
            return mask * 4
        return mask[:-1] if n == 4 else mask

    found = inspect(masks(change))
    assert problem(found, "empty mask").cases == ("s2",)
    assert problem(found, "no label").details == {"s3": "the mask holds 4"}
    assert "shape (20, 23) instead of (20, 24)" in problem(found, "another grid").details["s4"]
    assert found.fingerprint.label_statistics[0].cases == 9
    assert found.plan.task == "segment"


def test_every_mask_and_channel_on_another_grid_is_listed(masks, tmp_path):
    dataset = masks(lambda n, mask: mask[:-1] if n in (2, 5, 7) else mask)
    Picture.fromarray(picture(0, (24, 18))).save(tmp_path / "narrow.png")
    records = [
        record.model_copy(update={"images": {**record.images, "second": ImageRef(path=name)}})
        for record, name in zip(dataset.records, ["narrow.png"] * 2 + ["narrow.png", *["i9.png"] * 9], strict=True)
    ]
    manifest = dataset.manifest.model_copy(update={"records": tuple(records), "channels": ("image", "second")})
    inspected = inspect(Dataset(manifest))
    found = problem(inspected, "another grid")
    assert found.cases == ("s0", "s1", "s2", "s5", "s7")
    assert found.details["s0"] == "second: shape (18, 24) instead of (20, 24)"
    assert found.details["s2"] == "second: shape (18, 24) instead of (20, 24); mask: shape (20, 23) instead of (20, 24)"
    text = "\n".join(inspected.summary())
    assert all(f"{name} (" in text for name in found.cases)


def test_inspecting_a_folder_lists_the_masks_for_which_training_refuses_it(tmp_path):
    for n in range(8):
        for part, shape in (("images", (20, 24)), ("masks", (19, 24) if n in (1, 4) else (20, 24))):
            (tmp_path / "data" / part).mkdir(parents=True, exist_ok=True)
            pixels = picture(n, shape) if part == "images" else np.tri(*shape, dtype=np.uint8)
            Picture.fromarray(pixels).save(tmp_path / "data" / part / f"s{n}.png")
    assert problem(inspect(tmp_path / "data"), "another grid").cases == ("s1", "s4")


def test_a_task_that_does_not_fit_is_a_problem_and_no_plan(classes):
    found = inspect(classes(), task="segment")
    assert found.plan is None
    assert found.problems[0].severity == "error"
    assert "segment" in found.problems[0].what


def test_output_holds_the_same_as_json_and_a_picture_and_is_not_overwritten(classes, tmp_path):
    found = inspect(classes(), output=tmp_path / "out")
    assert json.loads((tmp_path / "out" / "inspection.json").read_text()) == found.record()
    with Picture.open(tmp_path / "out" / "cases.png") as sheet:
        assert sheet.width > 500
    with pytest.raises(OutputExists, match="exists already"):
        inspect(classes(), output=tmp_path / "out")


def test_a_path_that_is_not_there_is_said_so(tmp_path):
    with pytest.raises(PathNotFound, match="does not exist"):
        inspect(tmp_path / "nowhere")


def test_real_radiographs_hold_the_copies_that_are_known(shared):
    found = inspect(shared / "pneumoniamnist")
    across = [d for d in found.duplicates if d.across]
    assert len(across) == 8
    assert all(d.splits == ("train", "validation") for d in across)
    assert found.classes["train"] == {"normal": 1214, "pneumonia": 3494}
    assert found.splits == {"train": 4708, "validation": 524, "test": 624}


def test_patients_of_the_cardiac_slices_come_from_their_names(shared):
    found = inspect(shared / "cardiac-mr", patient="^(.+?)-IM")
    assert found.patients == 30
    assert found.fingerprint.patients == 30


def test_inspecting_imports_no_torch(tmp_path):
    for label in ("benign", "malignant"):
        (tmp_path / "data" / label).mkdir(parents=True)
        for n in range(3):
            Picture.fromarray(picture(n + len(label))).save(tmp_path / "data" / label / f"{n}.png")
    code = f"""
import sys
from osler.workflows.inspect import inspect
inspect({str(tmp_path / "data")!r})
print(sorted(m for m in ("torch", "monai", "lightning_fabric", "openvino", "blosc2") if m in sys.modules))
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
