from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

from osler.errors import GridMismatch
from osler.studies.formats import read_image, read_labels
from osler.studies.geometry import flip_and_permute, orientation_transform
from osler.studies.image import Image
from osler.studies.pictures import colour_of, overlay, tile, to_png_bytes
from osler.studies.views import View, middle_view, through_window, views_of, window_of

RAS = np.diag([1.0, 1.0, 3.0, 1.0])


def _marked_volume() -> Image:
    """RAS+, dark, with bright voxels at the patient's right, anterior and superior ends."""
    array = np.zeros((1, 21, 25, 11), np.float32)
    array[0, -1, 12, 5] = array[0, 10, -1, 5] = array[0, 10, 12, -1] = 100
    return Image(array, RAS, window=(50.0, 100.0))


def _colours(picture: PIL.Image.Image) -> set[tuple[int, ...]]:
    return {tuple(colour) for colour in np.asarray(picture).reshape(-1, 3).tolist()}


def test_the_patients_right_is_on_the_viewers_left() -> None:
    axial, coronal, sagittal = views_of(_marked_volume())
    assert axial.letters == ("R", "L", "A", "P")
    assert coronal.letters == ("R", "L", "S", "I")
    assert sagittal.letters == ("A", "P", "S", "I")
    assert axial.pixels[:, 0].max() == 100  # right end: leftmost column
    assert axial.pixels[0].max() == 100  # anterior end: top row
    assert coronal.pixels[0].max() == sagittal.pixels[0].max() == 100  # superior end: top row
    assert sagittal.pixels[:, 0].max() == 100  # anterior end: leftmost column
    assert (axial.spacing, coronal.spacing, sagittal.spacing) == ((1, 1), (1, 3), (1, 3))


@pytest.mark.parametrize("codes", ["LPS", "SAR", "PIL"])
def test_the_views_do_not_depend_on_how_voxels_are_stored(codes: str) -> None:
    volume = _marked_volume()
    mask = (volume.array[0] > 0).astype(np.uint8)
    turn = orientation_transform(volume.affine, codes)
    array, affine = flip_and_permute(volume.array, volume.affine, *turn)
    turned_mask = flip_and_permute(mask[None], volume.affine, *turn)[0]
    for one, other in zip(views_of(volume, mask), views_of(Image(array, affine), turned_mask), strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert (one.letters, one.spacing) == (other.letters, other.spacing)


def test_the_plane_of_the_largest_area_is_shown() -> None:
    mask = np.zeros((21, 25, 11), np.uint8)
    mask[3:5, 3:5, 2] = 1
    mask[3:9, 3:9, 7] = 2
    axial = views_of(_marked_volume(), mask)[0]
    assert axial.title == "axial 4/11"  # counted from the top: superior is index 10
    assert set(np.unique(axial.mask)) == {0, 2}


def test_thin_stacks_show_only_the_plane_they_were_taken_in() -> None:
    assert [view.title for view in views_of(Image(np.zeros((1, 64, 64, 3)), RAS))] == ["axial 2/3"]


def test_a_plain_picture_gets_no_letters(tmp_path: Path) -> None:
    PIL.Image.fromarray(np.zeros((8, 9), np.uint8)).save(tmp_path / "a.png")
    [view] = views_of(read_image(tmp_path / "a.png"))
    assert view.letters is None
    assert view.pixels.shape == (8, 9)


def test_a_volume_of_unknown_orientation_gets_none_either() -> None:
    volume = Image(np.zeros((1, 8, 8, 8)), RAS, orientation_known=False)
    assert all(view.letters is None for view in views_of(volume))


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(GridMismatch, match=r"mask has shape \(21, 25, 9\)"):
        overlay(_marked_volume(), np.zeros((21, 25, 9)))


@pytest.mark.parametrize(
    ("image", "window"),
    [
        (Image(np.zeros((1, 4, 4)), modality="CT"), (40, 400)),
        (Image(np.zeros((1, 4, 4)), modality="CT", window=(300.0, 1500.0)), (300, 1500)),
        (Image(np.arange(1001.0).reshape(1, 7, 143)), (500, 990)),
        (Image(np.arange(1001.0).reshape(1, 7, 143), modality="MR", window=(16384.0, 32768.0)), (500, 990)),
        (Image(np.full((1, 4, 4), np.nan)), (0.5, 1)),
        (Image(np.full((1, 4, 4), 7)), (7, 1e-6)),
    ],
)
def test_the_window(image: Image, window: tuple[float, float]) -> None:
    assert window_of(image) == pytest.approx(window)


def test_a_mask_on_lung_is_shown_through_a_lung_window() -> None:
    ct = Image(np.full((1, 4, 4), -800), modality="CT")
    assert window_of(ct, np.ones((4, 4))) == (-600, 1500)


def test_values_through_a_window_by_hand() -> None:
    assert through_window(np.array([[-1000, -160, 40, 240, 900]]), (40, 400)).tolist() == [[0, 0, 128, 255, 255]]


@pytest.mark.parametrize(("size", "longest"), [(28, 384), (500, 500), (4000, 1024)])
def test_small_pictures_are_enlarged_and_large_ones_reduced(size: int, longest: int) -> None:
    picture = overlay(Image(np.zeros((1, size, size // 2), np.uint8), spacing_known=False))
    assert longest <= picture.width <= longest + 30


def test_voxels_that_are_not_square_keep_their_aspect() -> None:
    square = overlay(Image(np.zeros((1, 400, 400), np.uint8)))
    tall = overlay(Image(np.zeros((1, 400, 400), np.uint8), np.diag([1.0, 2.0, 1.0, 1.0])))
    assert tall.height - square.height == 400


def test_each_label_has_its_colour_and_the_reference_black_and_white_dashes() -> None:
    image = Image(np.full((1, 400, 400), 90, np.uint8), window=(90.0, 200.0))
    mask = np.zeros((400, 400), np.uint8)
    mask[50:150, 50:150], mask[200:300, 200:300] = 3, 7
    labels = {3: "one", 7: "two"}
    colours = _colours(overlay(image, mask, labels))
    assert {colour_of(0), colour_of(1)} <= colours
    assert np.asarray(overlay(image, mask, labels, truth=mask)).shape != ()
    truth_only = np.asarray(overlay(image, None, labels, truth=mask))[62:162, 62:162]
    assert {(0, 0, 0), (255, 255, 255)} <= {tuple(c) for c in truth_only.reshape(-1, 3).tolist()}


def test_an_absent_label_does_not_change_the_colours_of_others() -> None:
    image, mask = Image(np.zeros((1, 400, 400), np.uint8)), np.zeros((400, 400), np.uint8)
    mask[50:90, 50:90] = 7
    assert colour_of(0) not in _colours(overlay(image, mask, {3: "one", 7: "two"}))


def test_the_first_seven_colours_are_far_apart() -> None:
    colours = np.array([colour_of(place) for place in range(7)], float)
    distances = np.linalg.norm(colours[:, None] - colours[None], axis=-1) + 999 * np.eye(7)
    assert distances.min() > 60
    assert len({colour_of(place) for place in range(21)}) == 21


def test_real_studies_are_drawn(shared: Path) -> None:
    image = read_image(shared / "hippocampus/imagesTr/hippocampus_003.nii.gz")
    mask = read_labels(shared / "hippocampus/labelsTr/hippocampus_003.nii.gz").array
    picture = overlay(image, mask, {1: "anterior", 2: "posterior"}, caption="x" * 300, lines=["a"] * 3, truth=mask)
    reread = PIL.Image.open(io.BytesIO(to_png_bytes(picture)))
    assert reread.size == picture.size
    assert {colour_of(0), colour_of(1)} <= _colours(reread)


def test_a_tile_is_grey_until_something_is_drawn_on_it_and_says_how_to_read_it() -> None:
    picture, notes = tile(_marked_volume(), side=128)
    assert (picture.mode, max(picture.size)) == ("L", 128)
    assert notes.startswith("window ")
    flat, notes = tile(Image(np.arange(81, dtype=np.uint16).reshape(1, 9, 9), orientation_known=False))
    assert flat.mode == "L"
    assert notes.endswith("orientation unknown")
    assert tile(Image(np.zeros((3, 30, 40), np.uint8)))[0].mode == "RGB"


def test_a_tile_shows_the_plane_of_the_label_in_focus() -> None:
    image, mask = Image(np.zeros((1, 20, 20, 8), np.int16), RAS), np.zeros((20, 20, 8), np.uint8)
    mask[2:12, 2:12, 1] = 1
    mask[5:9, 5:9, 6] = 2
    first, second = (middle_view(image, mask, focus=value) for value in (1, 2))
    assert set(np.unique(first.mask)) == {0, 1}
    assert set(np.unique(second.mask)) == {0, 2}
    assert np.array_equal(middle_view(image, mask).mask, first.mask)


def test_a_box_decides_the_plane_and_is_framed() -> None:
    array = np.zeros((1, 20, 20, 8), np.int16)
    array[..., 6] = 100
    picture, _ = tile(Image(array, RAS), side=200, boxes=[((5, 5, 6), (9, 9, 7))])
    frame = (213, 94, 0)
    found = np.argwhere((np.asarray(picture) == frame).all(axis=2))
    # the patient's right is on the left and anterior is up: voxels 5 to 9 of 20 lie at 110 to 150 of 200 px
    assert found.min(axis=0).tolist() == [107, 107]
    assert found.max(axis=0).tolist() == [152, 152]


def test_a_view_says_what_it_is() -> None:
    assert isinstance(views_of(_marked_volume())[0], View)
