"""Contours become voxels where they were drawn, in every orientation and order of files, or they are refused."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicom_label_samples import AXIAL, CORONAL, OBLIQUE, SAGITTAL, Series, write_rtstruct, write_series
from osler.errors import GeometryError, Unknown, Unreadable, Unsuitable
from osler.studies.formats import dicom_rtstruct, read_image, read_labels
from osler.studies.formats._contours import area, enclosed, rasterise
from osler.studies.geometry import volume_per_voxel
from osler.studies.image import Image

CLOSED = "CLOSED_PLANAR"
# An L, so that no mirror image or rotation of it is itself.
CORNERS = np.array([(1.5, 1.5), (9.5, 1.5), (9.5, 3.5), (4.5, 3.5), (4.5, 8.5), (1.5, 8.5)])


def outline(series: Series, corners: np.ndarray, k: float) -> np.ndarray:
    """(N, 3) LPS+ of corners (i, j) on slice k."""
    return series.place(corners[:, 0], corners[:, 1], np.full(len(corners), float(k)))


def ellipse(centre: tuple[float, float], radii: tuple[float, float], count: int = 400) -> np.ndarray:
    angles = np.linspace(0, 2 * np.pi, count, endpoint=False)
    return np.array(centre) + np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)])


def centroid_lps(mask: Image) -> np.ndarray:
    """Mean position of the voxels of a mask, from RAS+ to LPS+."""
    indices = np.argwhere(mask.array[0]).astype(float)
    indices = np.column_stack([indices, np.zeros(len(indices))]) if indices.shape[1] == 2 else indices
    world = (mask.affine @ np.column_stack([indices, np.ones(len(indices))]).T)[:3].mean(axis=1)
    return world * (-1, -1, 1)


def polygon_centroid(corners: np.ndarray) -> np.ndarray:
    """Centroid of a polygon by the textbook formula."""
    x, y = corners.T
    nx, ny = np.roll(x, -1), np.roll(y, -1)
    cross = x * ny - nx * y
    return np.array([((x + nx) * cross).sum(), ((y + ny) * cross).sum()]) / (3 * cross.sum())


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE, tuple(-np.array(AXIAL))])
@pytest.mark.parametrize("order", ["forwards", "backwards", "shuffled"])
def test_area_and_centroid_are_those_of_the_polygon_in_every_orientation_and_order(
    orientation: tuple[float, ...], order: str, tmp_path: Path
) -> None:
    orders = {"forwards": [0, 1, 2, 3, 4], "backwards": [4, 3, 2, 1, 0], "shuffled": [3, 0, 4, 1, 2]}
    series = write_series(tmp_path / "ct", orientation=orientation, order=orders[order])
    path = write_rtstruct(
        tmp_path / "rt.dcm", series, {"L": [(CLOSED, outline(series, CORNERS, k), k) for k in (1, 2)]}
    )
    image = read_image(tmp_path / "ct")
    mask = read_labels(path, onto=image)
    assert mask.shape == image.shape
    np.testing.assert_array_equal(mask.affine, image.affine)
    square = 8 * 2 + 3 * 5  # the L's pixels, counted by hand
    assert np.count_nonzero(mask.array) == 2 * square
    assert np.count_nonzero(mask.array) * volume_per_voxel(mask.affine) == pytest.approx(2 * square * 0.8 * 0.5 * 2.0)
    i, j = polygon_centroid(CORNERS)
    np.testing.assert_allclose(centroid_lps(mask), series.place(i, j, 1.5), atol=1e-6)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_every_voxel_of_the_mask_lies_at_the_place_that_was_drawn(
    orientation: tuple[float, ...], tmp_path: Path
) -> None:
    series = write_series(tmp_path / "ct", orientation=orientation, order=[2, 4, 0, 3, 1])
    one_pixel = np.array([(6.6, 2.6), (7.4, 2.6), (7.4, 3.4), (6.6, 3.4)])
    path = write_rtstruct(tmp_path / "rt.dcm", series, {"dot": [(CLOSED, outline(series, one_pixel, 3), 3)]})
    mask = read_labels(path, onto=read_image(tmp_path / "ct"))
    np.testing.assert_allclose(centroid_lps(mask), series.place(7, 3, 3), atol=1e-6)
    assert np.count_nonzero(mask.array) == 1


def test_a_contour_within_another_is_a_hole_and_one_within_that_an_island(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", (60, 60, 3), spacing=(1, 1, 1))
    rings = [ellipse((30, 30), (radius, radius)) for radius in (25, 15, 5)]
    path = write_rtstruct(tmp_path / "rt.dcm", series, {"ring": [(CLOSED, outline(series, r, 1), 1) for r in rings]})
    mask = read_labels(path, onto=read_image(tmp_path / "ct")).array[0, ..., 1]
    assert [mask[30, 30], mask[40, 30], mask[50, 30], mask[58, 30]] == [1, 0, 1, 0]
    assert np.count_nonzero(mask) == pytest.approx(np.pi * (25**2 - 15**2 + 5**2), rel=0.02)


def test_a_keyhole_gives_the_same_hole(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", (30, 30, 3))
    outer = np.array([(2.5, 2.5), (20.5, 2.5), (20.5, 20.5), (2.5, 20.5)])
    inner = np.array([(8.5, 8.5), (8.5, 12.5), (12.5, 12.5), (12.5, 8.5)])
    keyhole = np.vstack([outer, outer[:1], inner, inner[:1], outer[:1]])
    drawn = {
        "xor": [("CLOSEDPLANAR_XOR", outline(series, c, 1), 1) for c in (outer, inner)],
        "keyhole": [(CLOSED, outline(series, keyhole, 1), 1)],
    }
    path = write_rtstruct(tmp_path / "rt.dcm", series, drawn)
    image = read_image(tmp_path / "ct")
    xor, keyed = (read_labels(path, key=name, onto=image).array for name in drawn)
    assert np.count_nonzero(xor) == 18 * 18 - 4 * 4
    np.testing.assert_array_equal(xor, keyed)


def test_outlines_through_centres_of_voxels_give_back_these_voxels() -> None:
    square = np.array([(2.0, 3.0), (6.0, 3.0), (6.0, 8.0), (2.0, 8.0)])
    expected = np.zeros((12, 12), bool)
    expected[2:7, 3:9] = True
    np.testing.assert_array_equal(rasterise([square], (12, 12)), expected)
    np.testing.assert_array_equal(rasterise([square[::-1]], (12, 12)), expected)
    np.testing.assert_array_equal(rasterise([square + 0.004], (12, 12)), expected)  # decimals that were cut off


def test_regions_side_by_side_share_no_voxel_by_their_insides() -> None:
    left, right = np.array([(1, 1), (5, 1), (5, 9), (1, 9.0)]), np.array([(5, 1), (9, 1), (9, 9), (5, 9.0)])
    both = enclosed([left], (12, 12)).astype(int) + enclosed([right], (12, 12))
    assert both.max() == 1
    assert both.sum() == area(left) + area(right)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10_000), st.integers(3, 30), st.booleans())
def test_polygons_are_filled_as_scikit_image_fills_them(seed: int, count: int, star: bool) -> None:
    from skimage import draw

    random = np.random.default_rng(seed)
    angles = np.sort(random.uniform(0, 2 * np.pi, count))
    if not star:
        random.shuffle(angles)  # crosses itself
    corners = random.uniform(12, 28, 2) + (random.uniform(2, 30, count) * np.stack([np.cos(angles), np.sin(angles)])).T
    corners = np.round(corners, 3) + 0.0004  # no corner and hardly an edge on a centre, where the rules differ
    near = rasterise([corners], (40, 44)) ^ enclosed([corners], (40, 44))
    other = draw.polygon2mask((40, 44), corners)
    np.testing.assert_array_equal(enclosed([corners], (40, 44)) & ~near, other & ~near)


def test_the_area_of_smooth_outlines_is_unbiased() -> None:
    random = np.random.default_rng(0)
    ratios = []
    for _ in range(200):
        corners = ellipse(tuple(random.uniform(15, 25, 2)), tuple(random.uniform(3, 12, 2)))
        ratios.append(np.count_nonzero(rasterise([corners], (40, 40))) / area(corners))
    assert np.mean(ratios) == pytest.approx(1, abs=0.004)


def test_contours_outside_of_the_picture_part_of_a_slice_are_cut_not_wrapped() -> None:
    mask = rasterise([np.array([(-0.4, -0.4), (3.4, -0.4), (3.4, 2.4), (-0.4, 2.4)])], (8, 6))
    expected = np.zeros((8, 6), bool)
    expected[:4, :3] = True
    np.testing.assert_array_equal(mask, expected)


def case(tmp_path: Path, contours: list[tuple[str, np.ndarray, int | None]], series: Series | None = None) -> Path:
    series = series or write_series(tmp_path / "ct")
    return write_rtstruct(tmp_path / "rt.dcm", series, {"thing": contours})


BOX = np.array([(2.5, 2.5), (6.5, 2.5), (6.5, 6.5), (2.5, 6.5)])


@pytest.mark.parametrize(
    ("kind", "k", "named", "error", "reason"),
    [
        ("OPEN_PLANAR", 1, 1, Unsuitable, "OPEN_PLANAR, which encloses no region"),
        ("OPEN_NONPLANAR", 1, 1, Unsuitable, "OPEN_NONPLANAR"),
        (CLOSED, 1.5, None, GeometryError, "between slices 2 and 3"),
        (CLOSED, 1, 2, GeometryError, "names slice 3 as its source and lies on slice 2"),
        (CLOSED, 9, None, GeometryError, "outside the image"),
        (CLOSED, -1, None, GeometryError, "outside the image"),
    ],
)
def test_contours_that_are_no_region_of_a_slice_are_refused(
    kind: str, k: float, named: int | None, error: type[Exception], reason: str, tmp_path: Path
) -> None:
    series = write_series(tmp_path / "ct")
    regions = [(CLOSED, outline(series, BOX, 0), 0), (kind, outline(series, BOX, k), named)]
    path = case(tmp_path, regions, series)
    with pytest.raises(error, match=reason):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_contours_beside_the_picture_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = case(tmp_path, [(CLOSED, outline(series, BOX + 40, 1), None)], series)
    with pytest.raises(GeometryError, match="outside the image"):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_oblique_contours_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    points = series.place(BOX[:, 0], BOX[:, 1], np.array([1, 1, 2, 2]))
    with pytest.raises(GeometryError, match="oblique to the image's slices"):
        read_labels(case(tmp_path, [(CLOSED, points, None)], series), onto=read_image(tmp_path / "ct"))


def test_contours_of_another_frame_of_reference_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    other = write_series(tmp_path / "other")
    path = case(tmp_path, [(CLOSED, outline(series, BOX, 1), None)], series)
    with pytest.raises(GeometryError, match="different frames of reference"):
        read_labels(path, onto=read_image(other.folder))


def test_contours_without_an_image_are_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    with pytest.raises(Unsuitable, match="no grid of their own"):
        read_labels(case(tmp_path, [(CLOSED, outline(series, BOX, 1), 1)], series))


@pytest.mark.parametrize(
    ("second", "reason"),
    [(BOX, "the same contour twice"), (BOX[[2, 1, 0, 3]], "the same contour twice"), (BOX + 2, "cross each other")],
)
def test_contours_that_leave_the_inside_open_are_refused(second: np.ndarray, reason: str, tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = case(tmp_path, [(CLOSED, outline(series, corners, 1), 1) for corners in (BOX, second)], series)
    with pytest.raises(Unsuitable, match=reason):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_contours_on_every_second_slice_are_not_filled_in(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = case(tmp_path, [(CLOSED, outline(series, BOX, k), k) for k in (0, 2, 4)], series)
    with pytest.raises(Unsuitable, match="3 slices of 5, never on two neighbours"):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_a_structure_smaller_than_a_voxel_is_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = case(tmp_path, [(CLOSED, outline(series, BOX / 40 + 0.3, 1), 1)], series)
    with pytest.raises(Unsuitable, match="holds no centre of a voxel"):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_structures_that_overlap_are_read_one_by_one(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    inner = np.array([(3.5, 3.5), (5.5, 3.5), (5.5, 5.5), (3.5, 5.5)])
    drawn = {name: [(CLOSED, outline(series, c, 1), 1)] for name, c in (("organ", BOX), ("tumour", inner))}
    path = write_rtstruct(tmp_path / "rt.dcm", series, drawn)
    image = read_image(tmp_path / "ct")
    with pytest.raises(Unsuitable, match="'tumour' and 'organ' overlap in 4 voxels"):
        read_labels(path, onto=image)
    assert np.count_nonzero(read_labels(path, key="tumour", onto=image).array) == 4
    masks = dicom_rtstruct.read_masks(path, onto=image)
    assert [int(masks(number).sum()) for number in (1, 2)] == [16, 4]
    with pytest.raises(Unknown, match="'organ', 'tumour'"):
        read_labels(path, key="liver", onto=image)


def test_points_are_listed_and_are_no_part_of_the_mask(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    drawn = {
        "isocentre": [("POINT", series.place(3, 3, 1)[None], None)],
        "organ": [(CLOSED, outline(series, BOX, 1), 1)],
        "planned": [],
    }
    path = write_rtstruct(tmp_path / "rt.dcm", series, drawn)
    found = dicom_rtstruct.read_structures(path)
    assert [(one.number, one.name, one.outlines) for one in found.structures] == [
        (1, "isocentre", ("POINT",)),
        (2, "organ", (CLOSED,)),
        (3, "planned", ()),
    ]
    assert series.uid not in repr(found)
    assert np.unique(read_labels(path, onto=read_image(tmp_path / "ct")).array).tolist() == [0, 2]
    assert dicom_rtstruct.numbers_in(path) == {2}


def test_a_single_slice_gets_its_contours_in_2d(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", (12, 10, 1), orientation=OBLIQUE)
    path = case(tmp_path, [(CLOSED, outline(series, CORNERS, 0), 0)], series)
    mask = read_labels(path, onto=read_image(tmp_path / "ct"))
    assert mask.shape == (12, 10)
    np.testing.assert_allclose(centroid_lps(mask), series.place(*polygon_centroid(CORNERS), 0), atol=1e-6)


def test_a_tilted_gantry_keeps_contours_in_place(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", (12, 12, 4))
    shift = np.array([0, 0.4, 0])  # the rows wander by 0.8 of a pixel from slice to slice
    for number, file in enumerate(sorted((tmp_path / "ct").iterdir())):
        data = pydicom.dcmread(file)
        data.ImagePositionPatient = (series.place(0, 0, number) + number * shift).tolist()
        data.save_as(file)
    contours = [(CLOSED, outline(series, BOX, k) + k * shift, k) for k in (1, 2)]
    mask = read_labels(case(tmp_path, contours, series), onto=read_image(tmp_path / "ct"))
    expected = np.zeros((12, 12, 4), bool)
    expected[3:7, 3:7, 1:3] = True
    np.testing.assert_array_equal(mask.array[0] > 0, expected)


def test_damaged_contours_are_refused_with_the_file(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = case(tmp_path, [(CLOSED, outline(series, BOX, 1), 1)], series)
    image = read_image(tmp_path / "ct")
    data = pydicom.dcmread(path)
    data.ROIContourSequence[0].ContourSequence[0].ContourData = ["1"] * 7
    data.save_as(path)
    with pytest.raises(Unreadable, match=r"rt.dcm cannot be read.*7 numbers for 4 points"):
        read_labels(path, onto=image)
    del data.StructureSetROISequence
    data.save_as(path)
    with pytest.raises(Unreadable, match="names no structure"):
        read_labels(path, onto=image)


def test_the_example_of_pydicom_is_placed_on_a_grid_that_it_fits(tmp_path: Path) -> None:
    from pydicom.data import get_testdata_file

    path = Path(str(get_testdata_file("rtstruct.dcm")))
    data = pydicom.dcmread(path, force=True)
    contours = data.ROIContourSequence[0].ContourSequence
    outlines = [np.array([float(n) for n in one.ContourData]).reshape(-1, 3) for one in contours]
    assert sorted({points[0, 2] for points in outlines}) == [-200, -190, -180]
    affine = np.array([[-2.0, 0, 0, 301], [0, -2, 0, 301], [0, 0, 10, -210], [0, 0, 0, 1]])
    image = Image(np.zeros((1, 300, 300, 5), np.int16), affine, modality="CT")
    mask = read_labels(path, onto=image)
    expected = sum(area(points[:, :2]) for points in outlines) * 10
    assert np.count_nonzero(mask.array) * volume_per_voxel(affine) == pytest.approx(expected, rel=0.01)
    assert {one.name for one in dicom_rtstruct.read_structures(path).structures} >= {"patient", "Isocenter 1"}


def test_slices_in_all_orders_give_one_mask(tmp_path: Path) -> None:
    masks = []
    for number, order in enumerate(itertools.permutations(range(3))):
        series = write_series(tmp_path / f"{number}/ct", (8, 8, 3), order=order)
        path = write_rtstruct(tmp_path / f"{number}/rt.dcm", series, {"x": [(CLOSED, outline(series, BOX, 2), 2)]})
        masks.append(read_labels(path, onto=read_image(series.folder)).array)
    assert all(np.array_equal(mask, masks[0]) for mask in masks)
    assert masks[0][0, ..., 2].any()
    assert not masks[0][0, ..., :2].any()
