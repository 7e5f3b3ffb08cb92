"""What every decoder must do, and each one's own rules on cases worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from osler.datasets.labels import Label, LabelSet
from osler.datasets.plan import GridPlan
from osler.datasets.preparation import trace_of
from osler.findings.finding import Concept
from osler.inference.decoders import DECODERS
from osler.inference.probabilities import probabilities
from osler.models.folder import Calibration
from osler.studies.image import Image
from tiny_models import make_plan

CALIBRATED = Calibration(cases=10, half_width=2.0)


def _trace(shape, affine=None, *, known=True):
    image = Image(np.zeros((1, *shape)), np.eye(4) if affine is None else affine, spacing_known=known)
    return trace_of(image, GridPlan(resize="stretch", shape=shape))


def _decode(task, values, *, plan=None, trace=None, calibration=CALIBRATED):
    plan = plan or make_plan(task, names=("a", "b", "c"), dimensions=2)
    return DECODERS[task].decode(np.asarray(values, np.float32), trace or _trace((4, 4)), plan, calibration)


@pytest.mark.parametrize("task", list(DECODERS))
def test_every_decoder_gives_findings_and_the_columns_it_promises(task):
    plan = make_plan(task, names=("a", "b", "c"), dimensions=2)
    shape = (plan.outputs, 4, 4) if task == "segment" else (plan.outputs,)
    answer = probabilities(np.random.default_rng(0).normal(size=shape), plan)
    decoded = _decode(task, answer, plan=plan, trace=_trace((4, 4), known=False))
    assert decoded.findings
    assert tuple(decoded.row) == DECODERS[task].columns(plan)
    assert (decoded.mask is not None) == (task == "segment")


def test_the_most_probable_class_is_the_answer():
    decoded = _decode("classify", [0.2, 0.5, 0.3])
    assert decoded.answer == "b"
    assert decoded.row["label"] == "b"
    assert [round(f.probability, 6) for f in decoded.findings] == [0.2, 0.5, 0.3]
    assert all(f.calibrated for f in decoded.findings)


def test_several_labels_are_joined_and_none_is_an_empty_cell():
    assert _decode("multilabel", [0.5, 0.1, 0.9]).row["label"] == "a;c"
    assert _decode("multilabel", [0.4, 0.1, 0.2]).answer == []


@pytest.mark.parametrize(
    ("values", "grade"), [([0.4, 0.15, 0.45], "b"), ([0.5, 0.0, 0.5], "a"), ([0.1, 0.1, 0.8], "c")]
)
def test_the_answer_among_grades_is_the_median_as_in_the_metrics(values, grade):
    from osler.metrics.answers import grade_answers

    assert _decode("ordinal", values).answer == grade
    assert "abc"[int(grade_answers(np.array([0]), np.array([values])).predicted[0])] == grade


def test_a_number_has_its_interval_and_unit():
    plan = make_plan("regress", labels={"kind": "number", "name": "age", "unit": "a"})
    decoded = _decode("regress", [41.5], plan=plan)
    assert decoded.answer == 41.5
    assert decoded.row == {"value": 41.5, "low": 39.5, "high": 43.5}
    assert decoded.findings[0].measurements[0].unit == "a"
    assert decoded.findings[0].measurements[0].interval == (39.5, 43.5)


def test_a_number_without_calibration_has_no_interval():
    decoded = _decode("regress", [41.5], calibration=Calibration())
    assert decoded.row["low"] == ""
    assert not decoded.findings[0].calibrated


def _masks(shape, boxes):
    answer = np.full((1 + len(boxes), *shape), 0.1, np.float32)
    answer[0] = 0.6
    for n, box in enumerate(boxes, start=1):
        if box is not None:
            answer[(n, *box)] = 0.8
    return answer


def test_a_box_is_measured_where_it_lies():
    affine = np.array([[0, 0, -2.0, 10], [3.0, 0, 0, 20], [0, 4.0, 0, 30], [0, 0, 0, 1]])
    plan = make_plan(names=("a", "b"), grid=GridPlan(resize="stretch", shape=(10, 8, 6)))
    answer = _masks((10, 8, 6), [(slice(2, 5), slice(1, 3), slice(4, 6)), None])
    decoded = _decode("segment", answer, plan=plan, trace=_trace((10, 8, 6), affine))
    here, absent = decoded.findings
    assert here.region.box == ((2, 1, 4), (4, 2, 5))
    assert here.region.voxels == 12
    assert here.region.mask_value == 1
    assert here.measurements[0].value == pytest.approx(12 * 24)  # 2 × 3 × 4 mm³ per voxel
    assert here.measurements[0].unit == "mm3"
    assert here.probability == pytest.approx(0.8)
    np.testing.assert_allclose(here.region.centroid_mm, (affine @ [3, 1.5, 4.5, 1])[:3])
    assert absent.region is None
    assert absent.probability is None
    assert absent.measurements[0].value == 0
    assert decoded.answer == ["a"]
    assert decoded.row == {"volume_mm3_a": pytest.approx(288), "volume_mm3_b": 0}


def test_the_centroid_and_size_agree_with_scipy():
    from scipy import ndimage

    blob = ndimage.gaussian_filter(np.random.default_rng(1).normal(size=(30, 25, 20)), 3) > 0.02
    plan = make_plan(names=("a",), grid=GridPlan(resize="stretch", shape=blob.shape))
    decoded = _decode("segment", np.stack([~blob, blob]), plan=plan, trace=_trace(blob.shape))
    region = decoded.findings[0].region
    np.testing.assert_allclose(region.centroid_mm, ndimage.center_of_mass(blob), atol=1e-9)
    places = ndimage.find_objects(blob.astype(int))[0]
    assert region.box == (tuple(s.start for s in places), tuple(s.stop - 1 for s in places))
    assert region.voxels == blob.sum()


def test_the_mask_has_the_data_sets_values():
    labels = LabelSet(kind="mask", labels=(Label(name="a", value=7), Label(name="b", value=300)))
    plan = make_plan(labels=labels, grid=GridPlan(resize="stretch", shape=(4, 4, 4)))
    answer = _masks((4, 4, 4), [(slice(0, 1),), (slice(2, 4),)])
    mask = _decode("segment", answer, plan=plan, trace=_trace((4, 4, 4))).mask
    assert np.unique(mask).tolist() == [0, 7, 300]
    assert mask.dtype == np.uint16


@pytest.mark.parametrize(
    ("shape", "known", "unit", "column"),
    [
        ((4, 4), False, "{pixels}", "area_px_a"),
        ((4, 4), True, "mm2", "area_mm2_a"),
        ((4, 4, 4), True, "mm3", "volume_mm3_a"),
        ((4, 4, 4), False, "{voxels}", "volume_px_a"),
    ],
)
def test_sizes_have_the_unit_of_their_grid(shape, known, unit, column):
    plan = make_plan(names=("a",), dimensions=len(shape))
    answer = _masks(shape, [(slice(0, 2),)])
    decoded = _decode("segment", answer, plan=plan, trace=_trace(shape, known=known))
    assert decoded.findings[0].measurements[0].unit == unit
    assert list(decoded.row) == [column]
    assert (decoded.findings[0].region.centroid_mm is not None) == known


def test_a_coded_label_gives_a_coded_finding():
    concept = Concept(name="Pneumonia", code="233604007", system="http://snomed.info/sct")
    labels = LabelSet(kind="classes", labels=(Label(name="no", value=0), Label(name="yes", value=1, concept=concept)))
    decoded = _decode("classify", [0.1, 0.9], plan=make_plan("classify", labels=labels))
    assert decoded.findings[1].concept == concept
    assert decoded.findings[0].concept == Concept(name="no")


def test_a_region_is_found_with_all_values_that_it_is_made_of():
    from osler.datasets.plan import RegionPlan

    regions = (
        RegionPlan(name="whole", values=(1, 2), writes=1),
        RegionPlan(name="core", values=(2,), writes=2),
        RegionPlan(name="none", values=(3,), writes=3),
    )
    plan = make_plan("segment", names=("shell", "core", "none"), dimensions=2, regions=regions)
    values = np.zeros((3, 4, 4), np.float32)
    values[0, :3] = 0.8
    values[1, 0] = 0.9
    values[2] = 0.4
    decoded = _decode("segment", values, plan=plan)
    assert decoded.mask.tolist() == [[2] * 4, [1] * 4, [1] * 4, [0] * 4]
    assert decoded.answer == ["whole", "core"]
    whole, core, none = decoded.findings
    assert (whole.region.voxels, whole.region.mask_value, core.region.voxels, core.region.mask_value) == (
        12,
        None,
        4,
        2,
    )
    assert whole.probability == pytest.approx(0.8)
    assert none.region is None
    assert tuple(decoded.row) == ("area_mm2_whole", "area_mm2_core", "area_mm2_none")
