"""Masks in several parts: where they overlap the smaller label has the voxel, and how many these are is told."""

from __future__ import annotations

import numpy as np
import pytest

from layout_samples import coco, mask_picture, masks_per_class, volume
from learning_plans import small_plan
from osler.datasets.facts import look
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Layer
from osler.datasets.mask_sources import compose_mask, paint, values_of
from osler.datasets.problems import find_problems
from osler.datasets.store import PreparedStore
from osler.errors import Unsuitable


def boxes(*spans: tuple[int, int]) -> list[tuple[int, np.ndarray]]:
    masks = []
    for value, (start, stop) in enumerate(spans, 1):
        inside = np.zeros(10, bool)
        inside[start:stop] = True
        masks.append((value, inside))
    return masks


@pytest.mark.parametrize("turn", [1, -1])
def test_the_smaller_of_two_labels_has_the_voxel_whatever_the_order(turn):
    parts = boxes((0, 9), (3, 5), (4, 8))
    painted, overlaps = paint(iter(parts[::turn]), (10,), 3)
    assert painted.tolist() == [1, 1, 1, 2, 2, 3, 3, 3, 1, 0]
    assert overlaps[2, 3] == 1


def test_equal_sizes_go_to_the_lower_value_in_either_order():
    parts = boxes((0, 4), (2, 6))
    for order in (parts, parts[::-1]):
        painted, overlaps = paint(iter(order), (10,), 2)
        assert painted.tolist()[:6] == [1, 1, 1, 1, 2, 2]
        assert overlaps == {(1, 2): 2}


def test_files_per_label_become_one_mask_and_several_files_of_one_label_are_joined(tmp_path):
    mask_picture(tmp_path / "organ.png", (255,))
    mask_picture(tmp_path / "left.png", (255, 0, 0))
    mask_picture(tmp_path / "right.png", (0, 0, 1))
    layers = (Layer(path="left.png", value=5), Layer(path="right.png", value=5), Layer(path="organ.png", value=2))
    ref = ImageRef(path="left.png", layers=layers)
    composed = compose_mask(tmp_path, ref)
    assert composed.image.array.shape == (1, 12, 10)
    assert np.unique(composed.image.array).tolist() == [2, 5]
    assert composed.overlaps == {(2, 5): 80}
    assert values_of(tmp_path, ref) == {0, 2, 5}


def test_parts_on_different_grids_or_with_several_values_are_refused(tmp_path):
    volume(tmp_path / "a.nii.gz", labels=1)
    volume(tmp_path / "b.nii.gz", labels=1, shift=3)
    volume(tmp_path / "c.nii.gz", labels=3)
    for other, problem in (("b", "lies on another grid"), ("c", "should mark one label and holds the values 0, 1, 2")):
        layers = (Layer(path="a.nii.gz", value=1), Layer(path=f"{other}.nii.gz", value=2))
        with pytest.raises(Unsuitable, match=problem):
            compose_mask(tmp_path, ImageRef(path="a.nii.gz", layers=layers))


def test_shapes_of_a_coco_file_become_a_mask_with_the_categories_ids(tmp_path):
    root = coco(tmp_path)
    composed = compose_mask(root, ImageRef(path="annotations/instances_train.json", key="0"))
    mask = composed.image.array[0]
    assert mask.shape == (12, 10)
    assert (mask[1:5, 2:6] == 3).all()  # 16 pixels, fewer than the other one's 25
    assert (mask[5:8, 4:9] == 7).all()
    assert composed.overlaps == {(3, 7): 4}
    runs = compose_mask(root, ImageRef(path="annotations/instances_train.json", key="1")).image.array[0]
    assert np.argwhere(runs).tolist() == [[1, 5], [1, 6], [1, 7]]


def test_a_damaged_shape_is_named(tmp_path):
    shapes = [{"id": 1, "image_id": 0, "category_id": 3, "segmentation": {"size": [10, 12], "counts": [3, 4]}}]
    root = coco(tmp_path, annotations=shapes)
    with pytest.raises(Unsuitable, match=r"damaged shape on 0.png: its runs cover 7 pixels, and the image has 120"):
        compose_mask(root, ImageRef(path="annotations/instances_train.json", key="0"))


def test_inspection_tells_of_overlap_and_the_case_stays_usable(tmp_path):
    dataset = open_dataset(masks_per_class(tmp_path))
    facts = [look(dataset, record) for record in dataset]
    assert all(fact.usable for fact in facts)
    problem = next(p for p in find_problems(dataset, facts, {}) if "overlap" in p.what)
    assert problem.cases == ("a0", "a1")
    assert problem.details["a0"] == "40 voxels are both liver and tumour"
    assert (problem.severity, bool(problem.remedy)) == ("warning", True)


def test_a_mask_of_parts_is_prepared_anew_when_one_part_changes(tmp_path):
    root = masks_per_class(tmp_path)
    dataset = open_dataset(root)

    def folder_of(case: str) -> set[str]:
        store = PreparedStore.build(dataset, dataset.records[:1], small_plan(), tmp_path / "prepared")
        return {row.digest for row in store._rows.values()} if case in store.names else set()

    before = folder_of("a0")
    assert before
    assert folder_of("a0") == before
    mask_picture(root / "masks/tumour/a0.png", (0, 255))
    assert folder_of("a0") != before
