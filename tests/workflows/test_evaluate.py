from __future__ import annotations

import json
import re

import numpy as np
import pytest

from osler.datasets.dataset import Dataset
from osler.datasets.identity import content_digest, patient_digest
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.plan import GridPlan
from osler.errors import Cancelled, ModelError, OutputExists, TooFew, Unknown
from osler.inference.predictor import Predictor
from osler.models.folder import DataSummary
from osler.progress import CancelToken
from osler.studies.formats import write_image
from osler.studies.image import Image
from osler.workflows.evaluate import evaluate, evaluate_records, part_seen
from osler.workflows.verify import verify
from tiny_models import make_model, make_plan, thresholds

SALT = "0123"


@pytest.fixture
def pictures(tmp_path):
    """Twelve pictures of six patients in class folders; the brightness is the class, except for one."""
    random = np.random.default_rng(0)
    for n in range(12):
        name = "bright" if n % 2 else "dark"
        level = (180 if n % 2 else 30) if n != 11 else 40
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        array = np.clip(random.normal(level, 8, (1, 16, 16)), 0, 255).astype(np.uint8)
        write_image(Image(array), tmp_path / "data" / name / f"P{n // 2:02d}-{n}.png")
    return tmp_path / "data"


def _classifier(folder, *, names=("bright", "dark"), data=None, modality=""):
    plan = make_plan("classify", names=names, dimensions=2, patch=(16, 16), modality=modality)
    weights = np.array([[4.0 if name == "bright" else -4.0 if name == "dark" else 0.0] for name in names])
    return make_model(folder, plan, weights, -weights[:, 0], data=data)


def _summary(dataset, records, *, patients=False):
    return DataSummary(
        name="training",
        salt=SALT,
        seen=tuple(content_digest(dataset, record, SALT) for record in records),
        seen_patients=tuple({patient_digest(r.patient, SALT) for r in records}) if patients else (),
    )


def test_figures_agree_with_scikit_learn(pictures, tmp_path):
    from sklearn.metrics import accuracy_score, confusion_matrix

    result = evaluate(_classifier(tmp_path / "m"), pictures, output=tmp_path / "out", patient=r"P\d+")
    truth = [n % 2 == 0 for n in range(12)]
    predicted = [n % 2 == 0 or n == 11 for n in range(12)]  # dark is the second class
    assert result.evaluation.metrics["accuracy"].value == pytest.approx(accuracy_score(truth, predicted))
    np.testing.assert_array_equal(result.evaluation.confusion.counts, confusion_matrix(truth, predicted))
    assert result.evaluation.patients == 6
    written = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert written["metrics"]["accuracy"]["value"] == result.evaluation.metrics["accuracy"].value
    page = (tmp_path / "out" / "index.html").read_text()
    assert "P05-11" in page
    assert page.count("data:image/png;base64,") >= 6
    assert not re.search(r"(src|href)=\"?https?:", page)


def test_cases_that_the_model_has_seen_are_left_out_and_counted(pictures, tmp_path):
    dataset = open_dataset(pictures, patient="none")
    model = _classifier(tmp_path / "m", data=_summary(dataset, dataset.records[:5]))
    result = evaluate(model, pictures, output=tmp_path / "out", patient="none")
    assert (result.seen, result.evaluation.cases) == (5, 7)
    assert any("5 cases left out" in note for note in result.evaluation.notes)
    assert any("5 cases left out" in line for line in result.summary())
    both = evaluate(model, pictures, include_seen=True, patient="none")
    assert (both.seen, both.evaluation.cases) == (5, 12)
    assert "flatter" in both.evaluation.notes[0]


def test_a_split_that_came_with_the_data_is_said_to_be_so(pictures, tmp_path):
    for name in ("dark", "bright"):
        for n, path in enumerate(sorted((pictures / name).iterdir())):
            place = pictures.parent / "given" / ("train" if n < 2 else "test") / name / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
    dataset = open_dataset(pictures.parent / "given", patient="none")
    training = [record for record in dataset.records if record.split == "train"]
    summary = _summary(dataset, training).model_copy(update={"split_by": "given"})
    model = _classifier(tmp_path / "m", data=summary)
    for options in ({}, {"split": "test", "include_seen": True}):
        result = evaluate(model, dataset, output=tmp_path / "out", force=True, **options)
        assert (result.evaluation.split_by, result.evaluation.resampled_by) == ("given", "image")
        assert json.loads((tmp_path / "out" / "metrics.json").read_text())["split_by"] == "given"
        assert "The split came with the data" in (tmp_path / "out" / "index.html").read_text()
    assert "split as it came with the data" in "\n".join(verify(model).summary())
    assert evaluate(model, dataset, include_seen=True).evaluation.split_by == "image"


def test_pictures_for_a_model_of_one_modality_are_measured_with_a_caveat(pictures, tmp_path):
    model = _classifier(tmp_path / "m", modality="US")
    notes = evaluate(model, pictures).evaluation.notes
    assert any(note.startswith("In 12 of 12 cases the study does not say its modality") for note in notes)


def test_an_engine_that_there_is_not_leaves_no_folder(pictures, tmp_path):
    with pytest.raises(Unknown, match="no engine is called 'nope'"):
        evaluate(_classifier(tmp_path / "m"), pictures, output=tmp_path / "out", engine="nope")
    assert not (tmp_path / "out").exists()


def test_other_images_of_a_seen_patient_are_left_out_too(pictures, tmp_path):
    dataset = open_dataset(pictures, patient=r"P\d+")
    model = _classifier(tmp_path / "m", data=_summary(dataset, dataset.records[:1], patients=True))
    seen, unseen = part_seen(dataset, dataset.records, model.info.data)
    assert {record.patient for record in seen} == {dataset.records[0].patient}
    assert len(seen) == 2
    assert len(unseen) == 10


def test_a_renamed_copy_of_a_seen_case_is_recognised(pictures, tmp_path):
    dataset = open_dataset(pictures, patient="none")
    model = _classifier(tmp_path / "m", data=_summary(dataset, dataset.records))
    for path in list(pictures.rglob("*.png")):
        path.rename(path.with_name(f"new-{path.name}"))
    with pytest.raises(TooFew, match=r"all 12 cases.*other patients"):
        evaluate(model, pictures, output=tmp_path / "out", patient="none")
    assert not (tmp_path / "out").exists()


def test_a_model_of_another_task_is_refused(shared, pictures, tmp_path):
    segmenter = make_model(tmp_path / "s", make_plan(dimensions=2), *thresholds(1.0, 2.0))
    with pytest.raises(ModelError, match="another task: it gives a mask per study, and the data hold one class"):
        evaluate(segmenter, pictures)
    with pytest.raises(ModelError, match="another task: it gives one class per study, and the data hold a mask"):
        evaluate(_classifier(tmp_path / "m"), shared / "hippocampus")


def test_a_label_that_the_model_does_not_know_is_named(pictures, tmp_path):
    model = _classifier(tmp_path / "m", names=("dark", "grey"))
    with pytest.raises(ModelError, match="does not know the data's labels bright; its own are dark, grey"):
        evaluate(model, pictures)


def test_data_with_fewer_classes_than_the_model_are_matched_by_name(pictures, tmp_path):
    model = _classifier(tmp_path / "m", names=("black", "dark", "bright"))
    result = evaluate(model, pictures)
    assert result.evaluation.metrics["accuracy"].value == pytest.approx(11 / 12)
    assert any("black" in note for note in result.evaluation.notes)


def test_a_case_that_cannot_be_read_is_listed_and_in_no_figure(pictures, tmp_path):
    broken = sorted(pictures.rglob("*.png"))[3]
    broken.write_bytes(broken.read_bytes()[:40])
    result = evaluate(_classifier(tmp_path / "m"), pictures)
    assert list(result.failed) == [broken.stem]
    assert result.evaluation.cases == 11
    assert any(broken.stem in note for note in result.evaluation.notes)


def test_nothing_is_overwritten_without_force(pictures, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "metrics.json").write_text("{}")
    model = _classifier(tmp_path / "m")
    with pytest.raises(OutputExists, match=r"metrics\.json"):
        evaluate(model, pictures, output=tmp_path / "out")
    evaluate(model, pictures, output=tmp_path / "out", force=True)


def test_a_split_that_is_not_there_is_named(pictures, tmp_path):
    with pytest.raises(TooFew, match=r"no case in the split 'test'.*without splits"):
        evaluate(_classifier(tmp_path / "m"), pictures, split="test")


def test_a_stop_ends_an_evaluation_without_figures(pictures, tmp_path):
    token = CancelToken()
    token.cancel()
    with pytest.raises(Cancelled):
        evaluate(_classifier(tmp_path / "m"), pictures, output=tmp_path / "out", cancel=token)
    assert not (tmp_path / "out").exists()


def _masks(folder, values=(1, 2)):
    """Three volumes whose mask is what thresholds of 100 and 200 give, but for one slab of the second volume."""
    folder.mkdir()
    records = []
    for n in range(3):
        array = np.random.default_rng(n).uniform(0, 300, (1, 17, 18, 19)).astype(np.float32)
        truth = np.select([array[0] > 200, array[0] > 100], [values[1], values[0]], 0).astype(np.uint16)
        if n == 1:
            truth[:9] = 0
        write_image(Image(array, np.eye(4)), folder / f"v{n}.nii.gz")
        write_image(Image(truth[None], np.eye(4)), folder / f"v{n}-mask.nii.gz")
        refs = ImageRef(path=f"v{n}.nii.gz"), ImageRef(path=f"v{n}-mask.nii.gz")
        records.append(Record(name=f"v{n}", images={"image": refs[0]}, mask=refs[1], patient=f"p{n}"))
    labels = tuple(Label(name=name, value=v) for name, v in zip(("a", "b"), values, strict=True))
    manifest = Manifest(
        name="cubes", root=folder, layout="test", labels=LabelSet(kind="mask", labels=labels), records=tuple(records)
    )
    return Dataset(manifest.model_copy(update={"patients": "given"}))


def _segmenter(folder):
    plan = make_plan(names=("a", "b"), grid=GridPlan(resize="spacing", spacing=(1.0,) * 3, orientation="LPS"))
    return make_model(folder, plan, *thresholds(1.0, 2.0))


def test_dice_agrees_with_a_hand_computed_case(tmp_path):
    dataset = _masks(tmp_path / "d")
    result = evaluate(_segmenter(tmp_path / "m"), dataset, output=tmp_path / "out")
    array = np.random.default_rng(1).uniform(0, 300, (17, 18, 19)).astype(np.float32)
    predicted = (array > 100) & (array <= 200)
    true = predicted.copy()
    true[:9] = False
    dice = 2 * (predicted & true).sum() / (predicted.sum() + true.sum())
    assert result.evaluation.per_class["a"]["dice"].value == pytest.approx((1 + dice + 1) / 3)
    assert result.evaluation.per_case[0].name == "v1"
    assert result.evaluation.split_by == "patient"


def test_masks_with_other_values_of_the_same_names_are_matched(tmp_path):
    one = evaluate(_segmenter(tmp_path / "m"), _masks(tmp_path / "d"))
    other = evaluate(_segmenter(tmp_path / "n"), _masks(tmp_path / "e", values=(7, 300)))
    assert one.evaluation.metrics == other.evaluation.metrics


def test_a_mask_on_another_grid_or_with_foreign_values_is_told(tmp_path):
    dataset = _masks(tmp_path / "d")
    write_image(Image(np.ones((1, 5, 5, 5), np.uint8), np.eye(4)), tmp_path / "d" / "v0-mask.nii.gz", overwrite=True)
    write_image(
        Image(np.full((1, 17, 18, 19), 9, np.uint8), np.eye(4)), tmp_path / "d" / "v1-mask.nii.gz", overwrite=True
    )
    result = evaluate(_segmenter(tmp_path / "m"), dataset)
    assert "does not lie on the image's grid" in result.failed["v0"]
    assert "no label: 9" in result.failed["v1"]
    assert result.evaluation.cases == 1


def test_when_no_case_can_be_used_the_first_reason_is_told(pictures, tmp_path):
    plan = make_plan("classify", names=("bright", "dark"), dimensions=3)
    model = make_model(tmp_path / "m", plan, np.array([[1.0], [-1.0]]), np.zeros(2))
    with pytest.raises(TooFew, match=r"none of the 12 cases could be used; the first: .*2D"):
        evaluate(model, pictures)


def test_real_x_rays_are_measured_in_seconds(shared, tmp_path):
    dataset = open_dataset(shared / "pneumoniamnist")
    records = [record for record in dataset if record.split == "test"]
    plan = make_plan("classify", names=dataset.labels.names, dimensions=2, patch=(28, 28))
    model = make_model(tmp_path / "m", plan, np.array([[-8.0], [8.0]]), np.array([9.0, -9.0]))
    with Predictor(model) as predictor:
        measured = evaluate_records(predictor, dataset, records, pictures=2)
    assert measured.evaluation.cases == 624
    assert len(measured.pictures) == 2
    assert measured.failed == {}


def test_verify_says_what_the_model_is_for_and_finds_damage(pictures, tmp_path):
    model = _classifier(tmp_path / "m")
    found = verify(tmp_path / "m")
    assert found.faults == ()
    assert any("for: tests" in line for line in found.summary())
    assert "seen" not in found.record()["data"]
    json.dumps(found.record())
    (model.path / "graphs" / "member0.bin").write_bytes(b"0")
    assert verify(tmp_path / "m").faults == ("graphs/member0.bin was changed",)


def test_verify_tells_what_the_model_scored(pictures, tmp_path):
    from osler.models.folder import seal

    model = _classifier(tmp_path / "m")
    evaluation = evaluate(model, pictures).evaluation.without_cases()
    (model.path / "performance.json").write_text(evaluation.model_dump_json())
    seal(model.path, model.info)
    assert verify(model.path).record()["metrics"]["accuracy"]["value"] == pytest.approx(11 / 12)
    (model.path / "performance.json").write_text('{"schema_version": 1}')
    seal(model.path, model.info)
    assert verify(model.path).faults == ("performance.json is no evaluation that this Osler can read",)
