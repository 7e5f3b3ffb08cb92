from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from osler.errors import Unreadable, Unsuitable, UsageError
from osler.studies.formats import read_image, read_labels, sniff
from osler.studies.formats.slide import open_slide
from osler.studies.phantoms.slide_cells import write_dataset

ROWS = np.random.default_rng(0).integers(0, 255, (203, 310, 3)).astype(np.uint8)


def _write(path: Path, rows: np.ndarray = ROWS, *, description: str | None = None, **options: object) -> Path:
    settings: dict[str, object] = {"photometric": "rgb", "tile": (64, 48), "compression": "zlib"} | options
    with tifffile.TiffWriter(path, bigtiff=bool(settings.pop("bigtiff", False))) as file:
        file.write(rows, subifds=2, description=description, metadata=None, **settings)
        for factor in (2, 4):
            file.write(rows[::factor, ::factor], subfiletype=1, metadata=None, **settings)
    return path


def _svs(path: Path) -> Path:
    """As Aperio's scanners write: levels are pages, with a thumbnail among them."""
    rows = np.zeros((256, 256, 3), np.uint8)
    with tifffile.TiffWriter(path) as file:
        for factor, tile in ((1, (64, 64)), (8, None), (2, (64, 64)), (4, (64, 64))):
            text = f"Aperio Image Library v12\n256x256 -> {256 // factor} |AppMag = 20|MPP = 0.5"
            file.write(rows[::factor, ::factor], photometric="rgb", tile=tile, description=text, metadata=None)
    return path


def test_levels_and_their_sizes_are_known_without_pixels(tmp_path: Path) -> None:
    slide = open_slide(_write(tmp_path / "a.tif", resolution=(40_000, 40_000), resolutionunit=3))
    assert [(level.width, level.height) for level in slide.levels] == [(310, 203), (155, 102), (78, 51)]
    assert slide.levels[0].mpp == (0.25, 0.25)
    assert slide.levels[1].mpp == pytest.approx((0.5, 0.25 * 203 / 102))
    assert slide.channels == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"compression": None},
        {"compression": "jpeg", "compressionargs": {"level": 100}},
        {"compression": "jpeg2000", "compressionargs": {"reversible": True}},
        {"planarconfig": "separate"},
        {"bigtiff": True},
        {"tile": None, "rowsperstrip": 17},
    ],
    ids=str,
)
@pytest.mark.parametrize(
    "box", [(0, 0, 310, 203), (5, 7, 1, 1), (47, 63, 3, 4), (290, 190, 20, 13), (100, 20, 150, 160)]
)
def test_a_region_is_what_tifffile_reads_there(
    options: dict[str, object], box: tuple[int, int, int, int], tmp_path: Path
) -> None:
    rows = np.moveaxis(ROWS, -1, 0) if options.get("planarconfig") == "separate" else ROWS
    path = tmp_path / "a.svs"
    if "planarconfig" in options:
        tifffile.imwrite(path, rows, photometric="rgb", tile=(64, 48), metadata=None, planarconfig="separate")
        whole = ROWS
    else:
        _write(path, rows, **options)
        whole = tifffile.imread(path, key=0)
    x, y, width, height = box
    region = open_slide(path).read_region(x, y, width, height)
    np.testing.assert_array_equal(np.transpose(region.array), whole[y : y + height, x : x + width])


def test_regions_of_all_levels_lie_on_one_slide(tmp_path: Path) -> None:
    slide = open_slide(_svs(tmp_path / "a.svs"))
    assert [level.width for level in slide.levels] == [256, 128, 64]
    whole, part = slide.read_level(0), slide.read_region(10, 20, 8, 8)
    np.testing.assert_allclose(part.affine @ [0, 0, 0, 1], whole.affine @ [10, 20, 0, 1])
    coarse = slide.read_level(2)
    np.testing.assert_allclose(coarse.affine @ [0, 0, 0, 1], whole.affine @ [1.5, 1.5, 0, 1], atol=1e-9)
    np.testing.assert_allclose(coarse.affine @ [63, 63, 0, 1], whole.affine @ [253.5, 253.5, 0, 1], atol=1e-9)
    assert coarse.spacing == pytest.approx((0.002, 0.002))
    assert (coarse.modality, coarse.spacing_known, coarse.orientation_known) == ("SM", True, False)


@pytest.mark.parametrize(
    ("options", "mpp"),
    [
        ({"description": "Aperio Image Library |AppMag = 20|MPP = 0.4990"}, (0.499, 0.499)),
        ({"resolution": (25_400 / 0.5, 25_400 / 0.25), "resolutionunit": 2}, (0.5, 0.25)),
        ({"resolution": (300, 300), "resolutionunit": 2}, None),
        ({"resolution": (40_000, 40_000), "resolutionunit": 1}, None),
    ],
)
def test_microns_per_pixel(options: dict[str, object], mpp: tuple[float, float] | None, tmp_path: Path) -> None:
    found = open_slide(_write(tmp_path / "a.tif", **options)).levels[0].mpp
    assert found == (None if mpp is None else pytest.approx(mpp, rel=1e-4))


def test_ome_says_its_size_and_fluorescence_has_channels(tmp_path: Path) -> None:
    planes = np.random.default_rng(0).integers(0, 4000, (4, 203, 310)).astype(np.uint16)
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        meta = {
            "axes": "CYX",
            "PhysicalSizeX": 650,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 650,
            "PhysicalSizeYUnit": "nm",
        }
        file.write(planes, subifds=1, tile=(64, 64), photometric="minisblack", metadata=meta)
        file.write(planes[:, ::2, ::2], subfiletype=1, tile=(64, 64), photometric="minisblack")
    slide = open_slide(tmp_path / "a.ome.tif")
    assert slide.levels[0].mpp == pytest.approx((0.65, 0.65))
    region = slide.read_region(100, 50, 90, 80)
    np.testing.assert_array_equal(region.array, np.swapaxes(planes[:, 50:130, 100:190], 1, 2))


def test_read_image_takes_the_level_as_index(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tif")
    assert sniff(path) == "slide"
    assert read_image(path).array.shape == (3, 310, 203)
    np.testing.assert_array_equal(np.transpose(read_image(path, index=1).array), ROWS[::2, ::2])
    with pytest.raises(UsageError, match="no level 3"):
        read_image(path, index=3)


def test_a_region_outside_is_refused(tmp_path: Path) -> None:
    slide = open_slide(_write(tmp_path / "a.tif"))
    for box in ((300, 0, 20, 20), (-1, 0, 5, 5), (0, 0, 0, 5)):
        with pytest.raises(UsageError, match="is not in level 0"):
            slide.read_region(*box)


def test_a_level_too_large_for_memory_is_refused_and_its_regions_are_read(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "large.tif") as file:
        file.write(  # tiles without data stand for background
            (np.zeros((512, 512), np.uint8) if place == 0 else None for place in range(400)),
            shape=(10_240, 10_240),
            dtype=np.uint8,
            tile=(512, 512),
            compression="zlib",
            subifds=1,
            photometric="minisblack",
            metadata=None,
        )
        file.write(np.zeros((2560, 2560), np.uint8), tile=(512, 512), subfiletype=1, metadata=None)
    with pytest.raises(Unsuitable, match="10240×10240 pixels in level 0, too many"):
        read_image(tmp_path / "large.tif")
    assert read_labels(tmp_path / "large.tif", index=1).array.shape == (1, 2560, 2560)
    assert open_slide(tmp_path / "large.tif").read_region(9000, 9000, 100, 100).array.shape == (1, 100, 100)


def test_depth_is_refused(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        stack = np.zeros((3, 128, 128), np.uint8)
        file.write(stack, subifds=1, tile=(64, 64), photometric="minisblack", metadata={"axes": "ZYX"})
        file.write(stack[:, ::2, ::2], subfiletype=1, tile=(64, 64), photometric="minisblack")
    with pytest.raises(Unsuitable, match="no depth and no time"):
        read_image(tmp_path / "a.ome.tif")


def test_a_damaged_tile_is_noticed(tmp_path: Path) -> None:
    path = _write(tmp_path / "a.tif")
    with tifffile.TiffFile(path) as file:
        offset = file.pages[0].dataoffsets[0]
    data = bytearray(path.read_bytes())
    data[offset : offset + 40] = bytes(40)
    path.write_bytes(data)
    with pytest.raises(Unreadable, match=r"a\.tif"):
        read_image(path)


def _same_as_openslide(path: Path) -> int:
    """Every level that OpenSlide finds has the pixels, the size and the scale that we find; how many there are."""
    import openslide

    ours = open_slide(path)
    with openslide.OpenSlide(path) as theirs:
        assert float(theirs.properties["openslide.mpp-x"]) == pytest.approx(ours.levels[0].mpp[0], rel=1e-3)
        for number, size in enumerate(theirs.level_dimensions):
            assert size == (ours.levels[number].width, ours.levels[number].height)
            pixels = np.asarray(theirs.read_region((0, 0), number, size))[..., :3]
            np.testing.assert_array_equal(np.transpose(ours.read_level(number).array), pixels)
        x, y = ours.levels[0].width // 3, ours.levels[0].height // 4
        corner = np.asarray(theirs.read_region((x, y), 0, (50, 40)))[..., :3]
        np.testing.assert_array_equal(np.transpose(ours.read_region(x, y, 50, 40).array), corner)
        return int(theirs.level_count)


def test_an_aperio_pyramid_and_a_jpeg_slide_read_as_openslide_reads_them(tmp_path: Path) -> None:
    write_dataset(tmp_path / "cells", cases=1, seed=1, size=640)
    assert _same_as_openslide(tmp_path / "cells/studies/slide-001.tif") == 1  # it does not look into SubIFDs
    pages = tmp_path / "pages.svs"
    with tifffile.TiffWriter(pages) as file:
        for factor, tile in ((1, (64, 64)), (8, None), (2, (64, 64)), (4, (64, 64))):  # the second is a thumbnail
            rows = np.ascontiguousarray(np.tile(ROWS, (2, 2, 1))[:384:factor, :512:factor])
            text = f"Aperio Image Library v12\n{512 // factor}x{384 // factor}|AppMag = 20|MPP = 0.5"
            options = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 90}}
            file.write(rows, description=text, metadata=None, tile=tile, **options)
    assert _same_as_openslide(pages) == 3
