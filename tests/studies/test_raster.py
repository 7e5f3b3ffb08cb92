from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageOps
import pytest
import tifffile

from osler.errors import NoneChosen, Unreadable, Unsuitable, UsageError
from osler.studies.formats import read_frames, read_image, read_labels, write_image
from osler.studies.geometry import PICTURE_AFFINE
from osler.studies.image import Image

ROWS = np.arange(12, dtype=np.uint8).reshape(3, 4)


def _save(rows: np.ndarray, path: Path, **options: object) -> Path:
    PIL.Image.fromarray(rows).save(path, **options)
    return path


def test_i_runs_along_a_row_and_j_down(tmp_path: Path) -> None:
    image = read_image(_save(ROWS, tmp_path / "a.png"))
    assert image.array.shape == (1, 4, 3)
    assert image.array[0, 3, 1] == ROWS[1, 3]
    np.testing.assert_array_equal(image.affine, PICTURE_AFFINE)
    assert not image.spacing_known
    assert not image.orientation_known


def test_real_ultrasound_is_read_as_pillow_reads_it(shared: Path) -> None:
    for path in sorted((shared / "breast-ultrasound/malignant").iterdir())[:3]:
        rows = np.asarray(PIL.Image.open(path).convert("RGB"))
        array = read_image(path).array
        assert array.shape[0] == (1 if (rows == rows[..., :1]).all() else 3)
        np.testing.assert_array_equal(array[0], rows[..., 0].T)


def test_real_masks_saved_as_rgb_become_one_channel(shared: Path) -> None:
    mask = read_labels(sorted((shared / "cardiac-mr/masks").iterdir())[0])
    assert (mask.array.shape, mask.array.dtype) == ((1, 256, 256), np.uint8)
    assert set(np.unique(mask.array)) == {0, 255}


def test_colour_stays_colour_and_equal_channels_become_grey(tmp_path: Path) -> None:
    colour = np.stack([ROWS, ROWS, ROWS], axis=-1)
    assert read_image(_save(colour, tmp_path / "grey.png")).array.shape == (1, 4, 3)
    colour[0, 0, 2] = 200
    image = read_image(_save(colour, tmp_path / "colour.png"))
    assert image.array.shape == (3, 4, 3)
    assert image.array[2, 0, 0] == 200


def test_opaque_alpha_is_dropped_and_other_is_laid_on_black(tmp_path: Path) -> None:
    rows = np.full((3, 4, 2), 200, np.uint8)
    rows[..., 1] = 255
    assert (read_image(_save(rows, tmp_path / "opaque.png")).array == 200).all()
    rows[0, 0, 1] = 51  # a fifth
    assert read_image(_save(rows, tmp_path / "clear.png")).array[0, 0, 0] == 40


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_exif_orientation_is_applied_as_pillow_does(orientation: int, suffix: str, tmp_path: Path) -> None:
    path, exif = tmp_path / f"a{suffix}", PIL.Image.Exif()
    exif[274] = orientation
    if suffix == ".png":
        _save(ROWS, path, exif=exif)
    else:
        tifffile.imwrite(path, ROWS, extratags=[(274, "H", 1, orientation, True)])
    PIL.Image.fromarray(ROWS).save(tmp_path / "pillow.png", exif=exif)
    expected = np.asarray(PIL.ImageOps.exif_transpose(PIL.Image.open(tmp_path / "pillow.png")))
    np.testing.assert_array_equal(read_image(path).array[0].T, expected)


def test_a_palette_gives_colours_as_an_image_and_indices_as_a_mask(tmp_path: Path) -> None:
    picture = PIL.Image.fromarray(ROWS % 3)
    picture.putpalette([0, 0, 0, 250, 10, 20, 30, 240, 50])
    picture.save(tmp_path / "palette.png")
    assert read_image(tmp_path / "palette.png").array[:, 1, 0].tolist() == [250, 10, 20]
    np.testing.assert_array_equal(read_labels(tmp_path / "palette.png").array[0].T, ROWS % 3)


def test_black_and_white_is_0_and_1_as_a_mask(tmp_path: Path) -> None:
    PIL.Image.fromarray(ROWS > 5).save(tmp_path / "bits.png")
    assert set(np.unique(read_labels(tmp_path / "bits.png").array)) == {0, 1}
    assert set(np.unique(read_image(tmp_path / "bits.png").array)) == {0, 255}


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
def test_a_jpeg_is_no_mask_whatever_its_name(suffix: str, tmp_path: Path) -> None:
    _save(ROWS, tmp_path / f"mask{suffix}", format="JPEG")
    assert read_image(tmp_path / f"mask{suffix}").array.shape == (1, 4, 3)
    with pytest.raises(Unsuitable, match=f"mask{suffix} is a JPEG"):
        read_labels(tmp_path / f"mask{suffix}")


def test_a_mask_in_colour_is_refused(tmp_path: Path) -> None:
    rows = np.zeros((3, 4, 3), np.uint8)
    rows[0, 0] = (255, 0, 0)
    with pytest.raises(Unsuitable, match="in colour"):
        read_labels(_save(rows, tmp_path / "red.png"))


def test_16_bit_colour_is_not_cut_down_to_8_bits(tmp_path: Path) -> None:
    image = Image(np.random.default_rng(0).integers(0, 65536, (3, 5, 4)).astype(np.uint16))
    write_image(image, tmp_path / "deep.png")
    np.testing.assert_array_equal(read_image(tmp_path / "deep.png").array, image.array)


def test_a_tiff_of_several_pages_is_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((5, 8, 8), np.uint8), photometric="minisblack")
    with pytest.raises(NoneChosen, match="5 pages"):
        read_image(tmp_path / "stack.tif")


def test_white_is_zero_is_inverted(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "white.tif", ROWS, photometric="miniswhite")
    np.testing.assert_array_equal(read_image(tmp_path / "white.tif").array[0].T, 255 - ROWS)


def test_a_large_picture_keeps_its_dtype(tmp_path: Path) -> None:
    write_image(Image(np.full((1, 4000, 3000), 4095, np.uint16)), tmp_path / "large.tif")
    image = read_image(tmp_path / "large.tif")
    assert (image.array.shape, image.array.dtype, image.array.max()) == ((1, 4000, 3000), np.uint16, 4095)


def test_pages_of_a_tiff_are_chosen_or_frames(tmp_path: Path) -> None:
    pages = np.random.default_rng(0).integers(0, 255, (5, 8, 9)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stack.tif", pages, photometric="minisblack")
    np.testing.assert_array_equal(read_image(tmp_path / "stack.tif", index=3).array[0].T, pages[3])
    np.testing.assert_array_equal(read_labels(tmp_path / "stack.tif", index=3).array[0].T, pages[3])
    frames = read_frames(tmp_path / "stack.tif", start=1, step=2)
    np.testing.assert_array_equal([one.array[0].T for one in frames.images], pages[1::2])
    with pytest.raises(UsageError, match="5 frames and frame 5"):
        read_image(tmp_path / "stack.tif", index=5)


def test_frames_of_an_animated_png_are_chosen_or_read(tmp_path: Path) -> None:
    pictures = [PIL.Image.fromarray(np.full((4, 3), 10 * n, np.uint8)) for n in range(3)]
    pictures[0].save(tmp_path / "a.png", save_all=True, append_images=pictures[1:])
    with pytest.raises(NoneChosen, match=r"3 frames \(an animation\)"):
        read_image(tmp_path / "a.png")
    assert [int(one.array.max()) for one in read_frames(tmp_path / "a.png").images] == [0, 10, 20]
    assert int(read_image(tmp_path / "a.png", index=2).array.max()) == 20


@pytest.mark.parametrize("bits", [2, 4])
def test_labels_of_few_bits_keep_their_values(bits: int, tmp_path: Path) -> None:
    values = np.arange(12, dtype=np.uint8).reshape(3, 4) % 2**bits
    height, width = values.shape
    rows = [int("".join(f"{value:0{bits}b}" for value in row), 2).to_bytes(width * bits // 8, "big") for row in values]
    header = width.to_bytes(4, "big") + height.to_bytes(4, "big") + bytes([bits, 0, 0, 0, 0])
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))), (b"IEND", b"")]
    data = b"".join(
        len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big") for kind, body in chunks
    )
    (tmp_path / "few.png").write_bytes(b"\x89PNG\r\n\x1a\n" + data)
    np.testing.assert_array_equal(read_labels(tmp_path / "few.png").array[0].T, values)
    np.testing.assert_array_equal(read_image(tmp_path / "few.png").array[0].T, values * (255 // (2**bits - 1)))


@pytest.mark.parametrize(("kind", "expected"), [("unassalpha", 40), ("assocalpha", 200)])
def test_alpha_of_a_tiff_is_laid_on_black_unless_it_was_already(kind: str, expected: int, tmp_path: Path) -> None:
    rows = np.full((3, 4, 4), 200, np.uint8)
    rows[0, 0, 0] = 250  # in colour
    rows[..., 3] = 51
    tifffile.imwrite(tmp_path / "a.tif", rows, photometric="rgb", extrasamples=[kind])
    assert int(read_image(tmp_path / "a.tif").array[1, 1, 1]) == expected


def test_a_fourth_channel_that_may_be_anything_is_refused_and_others_are_channels(tmp_path: Path) -> None:
    rows = np.full((3, 4, 4), 200, np.uint8)
    tifffile.imwrite(tmp_path / "rgb.tif", rows, photometric="rgb", extrasamples=["unspecified"])
    with pytest.raises(Unsuitable, match="RGB and 1 more channels"):
        read_image(tmp_path / "rgb.tif")
    stains = np.random.default_rng(0).integers(0, 255, (3, 4, 5)).astype(np.uint8)
    tifffile.imwrite(tmp_path / "stains.tif", stains, photometric="minisblack", planarconfig="contig")
    np.testing.assert_array_equal(read_image(tmp_path / "stains.tif").array, np.transpose(stains))


def test_white_is_zero_of_twelve_bits_is_inverted_within_them(tmp_path: Path) -> None:
    rows = np.array([[0, 1, 4095]], np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", rows, photometric="miniswhite", bitspersample=12)
    assert read_image(tmp_path / "a.tif").array[0].T.tolist() == [[4095, 4094, 0]]


def test_inks_are_refused(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "inks.tif", np.zeros((3, 4, 4), np.uint8), photometric="separated")
    with pytest.raises(Unreadable, match="colours of the kind SEPARATED"):
        read_image(tmp_path / "inks.tif")


def test_a_picture_of_absurd_size_takes_no_memory(tmp_path: Path) -> None:
    _save(ROWS, tmp_path / "a.png")
    data = bytearray((tmp_path / "a.png").read_bytes())
    data[16:24] = (100_000).to_bytes(4, "big") * 2
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "a.png").write_bytes(data)
    with pytest.raises(Unreadable, match="more pixels than a picture has"):
        read_image(tmp_path / "a.png")
    data[24:26] = bytes([16, 2])
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    (tmp_path / "b.png").write_bytes(data)
    with pytest.raises(Unreadable, match="cut off"):
        read_image(tmp_path / "b.png")
