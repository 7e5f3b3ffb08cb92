"""A slide has the cells that its truth counts, in the colours of its stains, as a pyramid."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
import skimage.color
import tifffile
from scipy.ndimage import label

from osler.datasets.layouts import open_dataset
from osler.errors import UsageError
from osler.studies.phantoms.files import case_seed
from osler.studies.phantoms.slide_cells import (
    EOSIN,
    HAEMATOXYLIN,
    LABELS,
    LYMPHOCYTE,
    TUMOUR,
    SlidePhantom,
    make,
    write_dataset,
)


@pytest.fixture(scope="module")
def slide() -> SlidePhantom:
    return make(5, size=768, scanner=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("slides")
    write_dataset(folder, cases=2, seed=1, size=640)
    return folder


@pytest.mark.parametrize("kind", LABELS)
def test_nuclei_in_the_mask_are_as_many_as_were_placed_and_do_not_touch(slide: SlidePhantom, kind: int) -> None:
    _, found = label(slide.mask.array[0] == kind)
    assert found == slide.count(kind) > 20


def test_each_cell_is_where_it_is_said_to_be(slide: SlidePhantom) -> None:
    for cell in slide.cells:
        i, j = (round(c) for c in cell.centre)
        assert slide.mask.array[0, i, j] == cell.kind


def test_as_many_cells_as_were_asked_for() -> None:
    slide = make(8, size=512, tumour_cells=60, lymphocytes=25)
    assert (slide.count(TUMOUR), slide.count(LYMPHOCYTE)) == (60, 25)
    none = make(8, size=512, tumour_cells=0, lymphocytes=0)
    assert not none.mask.array.any()


def test_the_absorbances_of_the_stains_are_scikit_images() -> None:
    for ours, theirs in zip((HAEMATOXYLIN, EOSIN), skimage.color.rgb_from_hed[:2], strict=True):
        np.testing.assert_allclose(ours, theirs, atol=0.006)  # which has two digits
        assert np.linalg.norm(ours) == pytest.approx(1, abs=0.003)


def test_nuclei_are_blue_and_the_ground_is_pink(slide: SlidePhantom) -> None:
    stains = skimage.color.rgb2hed(np.moveaxis(slide.image.array, 0, -1))
    mask = slide.mask.array[0]
    blue = [np.median(stains[..., 0][mask == value]) for value in (0, TUMOUR, LYMPHOCYTE)]
    assert blue[0] < 0.6 * blue[1] < 0.6 * blue[2]
    tissue = (mask == 0) & (slide.image.array.min(axis=0) < 200)
    red, green, _ = (np.median(channel[tissue]) for channel in slide.image.array)
    assert red > green + 25


def test_lymphocytes_are_smaller_and_darker(slide: SlidePhantom) -> None:
    radii = {kind: np.mean([c.radii[0] for c in slide.cells if c.kind == kind]) for kind in LABELS}
    assert radii[LYMPHOCYTE] < 0.75 * radii[TUMOUR]
    grey = slide.image.array.mean(axis=0)
    assert grey[slide.mask.array[0] == LYMPHOCYTE].mean() < grey[slide.mask.array[0] == TUMOUR].mean() - 15


def test_the_file_is_a_tiled_pyramid_with_its_scale(folder: Path) -> None:
    with tifffile.TiffFile(folder / "studies" / "slide-001.tif") as file:
        page, series = file.pages[0], file.series[0]
        assert page.is_tiled
        assert [level.shape for level in series.levels] == [(640, 640, 3), (320, 320, 3), (160, 160, 3)]
        phantom = make(case_seed(1, 0), size=640)
        across, unit = page.tags["XResolution"].value, page.tags["ResolutionUnit"].value
        assert (int(unit), across[0] / across[1]) == (3, pytest.approx(10_000 / phantom.scanner.pixel, rel=1e-4))
        full, half = series.levels[0].asarray().astype(float), series.levels[1].asarray().astype(float)
        original = np.moveaxis(phantom.image.array, 0, -1).swapaxes(0, 1)
    assert np.abs(full - original).mean() < 4  # JPEG
    assert np.abs(full.reshape(320, 2, 320, 2, 3).mean(axis=(1, 3)) - half).mean() < 3


def test_masks_and_tables_agree_with_the_slide(folder: Path) -> None:
    for n in (0, 1):
        phantom, name = make(case_seed(1, n), size=640), f"slide-{n + 1:03d}"
        assert np.array_equal(tifffile.imread(folder / "masks" / f"{name}.tif").T, phantom.mask.array[0])
        with (folder / "cells" / f"{name}.csv").open() as file:
            kinds = [row["type"] for row in csv.DictReader(file)]
        assert {name_: kinds.count(name_) for name_ in LABELS.values()} == {
            name_: phantom.count(kind) for kind, name_ in LABELS.items()
        }


def test_the_folder_is_a_dataset(folder: Path) -> None:
    dataset = open_dataset(folder)
    assert dataset.labels.names == tuple(LABELS.values())
    assert set(dataset.records[0].columns) == {"scanner", "tumour_cells", "lymphocytes"}


def test_limits_are_kept() -> None:
    with pytest.raises(UsageError, match="100 pixels is too small"):
        make(0, size=100)
    with pytest.raises(UsageError, match="there is room for"):
        make(0, size=256, lymphocytes=100_000)
