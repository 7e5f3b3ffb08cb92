"""What inspection finds in datasets that have a known fault."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from pathlib import Path

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from osler.datasets.dataset import Dataset
from osler.datasets.inspection import size_words, spacing_words
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.errors import DatasetError, OutputExists, PathNotFound, UnknownLayout, UsageError
from osler.workflows.inspect import Inspection, inspect

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
    assert "--output OUT writes a page" in text


def test_a_damaged_file_is_listed_with_its_reason(classes, tmp_path):
    dataset = classes()
    (tmp_path / "p3.png").write_bytes(b"\x89PNG damaged")
    found = problem(inspect(dataset), "cannot be read")
    assert (found.severity, found.cases) == ("error", ("p3",))
    assert "p3.png" in found.details["p3"]


def test_files_of_several_pages_frames_or_volumes_say_how_to_name_one(tmp_path):
    pages = [Picture.fromarray(picture(n)) for n in range(3)]
    pages[0].save(tmp_path / "stack.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "film.gif", save_all=True, append_images=pages[1:])
    found = problem(inspect(tmp_path), "several images (pages, frames, levels)")
    assert (sorted(found.cases), found.code) == (["film", "stack"], "unsuitable")
    assert "stack.tif#index=0" in found.remedy


def test_volumes_in_time_are_no_colours(tmp_path):
    file = nibabel.Nifti1Image(np.random.default_rng(0).normal(size=(9, 8, 7, 3)).astype(np.float32), np.eye(4))
    file.header.set_zooms((1, 1, 1, 2))
    file.header.set_xyzt_units("mm", "sec")
    nibabel.save(file, tmp_path / "four.nii.gz")
    result = inspect(tmp_path)
    found = problem(result, "neither grey nor RGB")
    assert "3 volumes in time, 2 s apart" in found.details["four"]
    assert "colour" not in "\n".join(result.summary())


def test_spacing_is_that_of_the_files_that_say_it_and_sizes_are_whole(tmp_path):
    for n in range(4):
        Picture.fromarray(picture(n, (24, 20 + n % 2))).save(tmp_path / f"p{n}.png")
    found = inspect(tmp_path)
    assert size_words(found.fingerprint) == "20×24 (20×24 to 21×24) pixels"
    assert spacing_words(found.fingerprint, found.studies) == ""
    said = {0: (0.5, 0.5), 3: (0.7, 0.7)}
    rows = [
        row.model_copy(update={"spacing": said[n], "spacing_known": True} if n in said else {})
        for n, row in enumerate(found.studies)
    ]
    words = "0.6×0.6 (0.5×0.5 to 0.7×0.7) mm in 2 of 4 cases, not known in the others"
    assert spacing_words(found.fingerprint, rows) == words


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
    assert "another grid" in text


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


def test_output_is_a_page_and_the_whole_inspection_and_is_not_overwritten_unasked(classes, tmp_path):
    out = tmp_path / "out"
    found = inspect(classes({3: {"target": None}}), output=out)
    assert [path.name for path in found.files] == ["index.html", "inspect.json"]
    assert Inspection.model_validate_json((out / "inspect.json").read_text()) == found
    assert "no answer" in (out / "index.html").read_text()
    assert found.summary()[-1] == f"wrote {out / 'index.html'}, inspect.json"
    with pytest.raises(OutputExists, match="exists already"):
        inspect(classes(), output=out)
    inspect(classes(), output=out, force=True)
    assert "no answer" not in (out / "index.html").read_text()


def test_the_record_for_a_machine_is_one_short_line_whatever_the_number_of_cases(classes):
    line = json.dumps(inspect(classes(arrays={n: picture(0) for n in range(24)})).record())
    assert len(line) < 8000
    assert {"severities", "problems", "fingerprint", "plan"} <= json.loads(line).keys()


def test_studies_without_answers_are_inspected_and_nothing_is_planned(tmp_path):
    for n in range(3):
        Picture.fromarray(picture(n)).save(tmp_path / f"p{n}.png")
    found = inspect(tmp_path, output=tmp_path / "out")
    assert (found.cases, found.kind, found.plan) == (3, "", None)
    assert found.fingerprint.median_shape == (20, 24)
    assert problem(found, "nothing that says what they show").severity == "warning"
    assert (tmp_path / "out" / "index.html").read_text().count("<img") == 3
    with pytest.raises(DatasetError, match="no manifest to clean"):
        inspect(tmp_path, fix=tmp_path.parent / "cleaned")


def test_a_folder_without_any_study_keeps_its_own_error(tmp_path):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(UnknownLayout, match="not known"):
        inspect(tmp_path)


@pytest.fixture
def spoilt(tmp_path):
    """The path of a data set on disk with a damaged, a blank and two copied pictures across its given split."""
    folder = tmp_path / "data"
    for n in range(40):
        place = folder / ("test" if n >= 30 else "train") / ("benign", "malignant")[n % 2]
        place.mkdir(parents=True, exist_ok=True)
        Picture.fromarray(picture(n)).save(place / f"p{n}.png")
    Picture.fromarray(picture(31)).save(folder / "train" / "malignant" / "p1.png")
    Picture.fromarray(np.full((24, 20), 7, np.uint8)).save(folder / "train" / "benign" / "p2.png")
    (folder / "train" / "benign" / "p4.png").write_bytes(b"\x89PNG damaged")
    return folder


def _digests(folder):
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


def test_a_cleaned_manifest_opens_without_the_errors_and_the_data_is_untouched(spoilt, tmp_path):
    before = _digests(spoilt)
    found = inspect(spoilt, fix=tmp_path / "cleaned")
    assert found.severities["error"] == 3
    assert _digests(spoilt) == before
    rows = list(csv.DictReader((tmp_path / "cleaned" / "excluded.csv").open()))
    assert {(Path(row["image"]).name, row["problem"]) for row in rows} == {
        ("p1.png", "copies-across"),
        ("p2.png", "blank"),
        ("p4.png", "unreadable"),
    }
    assert all(row["reason"] for row in rows)
    again = inspect(tmp_path / "cleaned")
    assert again.cases == 37
    assert again.splits == {"train": 27, "test": 10}
    assert again.severities["error"] == 0
    assert again.classes["train"] == {"benign": 13, "malignant": 14}


def test_a_cleaned_manifest_is_never_written_into_the_data(spoilt):
    with pytest.raises(UsageError, match="lies in the data set"):
        inspect(spoilt, fix=spoilt / "cleaned", force=True)
    with pytest.raises(UsageError, match="lies in the data set"):
        inspect(spoilt, fix=spoilt, force=True)


def test_a_mask_on_another_grid_is_a_problem_and_not_the_end(tmp_path):
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    for n in range(12):
        mask = np.zeros((24, 20), np.uint8)
        mask[5:12, 4:9] = 1
        Picture.fromarray(picture(n)).save(tmp_path / "images" / f"s{n}.png")
        Picture.fromarray(mask if n else mask[:-1]).save(tmp_path / "masks" / f"s{n}.png")
    found = inspect(tmp_path, output=tmp_path / "out")
    assert problem(found, "another grid").cases == ("s0",)
    assert "mask on another grid, not drawn" in (tmp_path / "out" / "index.html").read_text()


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
