"""Histograms count what they say they count."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from osler.datasets.dataset import Dataset
from osler.datasets.distributions import distributions_of, label_size
from osler.datasets.facts import CaseFacts, ChannelSample, Extent
from osler.datasets.labels import Label, LabelSet
from osler.datasets.manifest import ImageRef, Manifest, Record

MASKS = LabelSet(kind="mask", labels=(Label(name="liver", value=2),))


def facts(n, *, shape=(10, 20, 5), spacing=(1.0, 1.0, 3.0), voxels=100, values=None, known=True):
    everywhere = np.arange(100, dtype=np.float32) if values is None else np.asarray(values, np.float32)
    sample = ChannelSample(float(everywhere.min()), float(everywhere.max()), everywhere, everywhere[:50])
    return CaseFacts(
        name=f"c{n}",
        shape=shape,
        spacing=spacing,
        codes="RAS",
        spacing_known=known,
        modality="CT",
        units="HU",
        format="nifti",
        colourful=False,
        extents={2: Extent(voxels, (5, 5, 4))},
        samples={"image": sample},
    )


def dataset(labels=MASKS, targets=(None,)):
    records = tuple(Record(name=f"c{n}", images={"image": ImageRef(path="x")}, target=t) for n, t in enumerate(targets))
    return Dataset(Manifest(name="d", root=Path("/d"), layout="test", labels=labels, records=records))


def by_name(histograms):
    return {(h.quantity, h.name): h for h in histograms}


def test_what_is_the_same_everywhere_has_no_histogram():
    assert set(by_name(distributions_of(dataset(), [facts(0), facts(1)]))) == {("intensity", "image")}


def test_intensities_are_counted_everywhere_and_inside_the_masks():
    found = by_name(distributions_of(dataset(), [facts(0), facts(1)]))["intensity", "image"]
    assert found.unit == "HU"
    assert set(found.counts) == {"everywhere", "inside the masks"}
    assert {name: sum(counts) for name, counts in found.counts.items()} == {"everywhere": 200, "inside the masks": 100}
    assert (found.edges[0], found.edges[-1], found.outside) == (-0.5, 101.5, 0)


def test_a_few_extreme_intensities_do_not_squeeze_the_rest():
    values = [*range(10_000), 1_000_000]
    found = by_name(distributions_of(dataset(), [facts(0, values=values)]))["intensity", "image"]
    assert found.edges[-1] < 10_300
    assert 20 <= found.outside <= 30  # below the first thousandth, above the last, and the mask's below the first


def test_axes_and_sizes_that_differ_are_counted_per_case():
    cases = [facts(n, shape=(10, 20 + n, 5), voxels=100 * (n + 1)) for n in range(6)]
    found = by_name(distributions_of(dataset(), cases))
    assert set(found) == {("intensity", "image"), ("shape", "back to front"), ("size", "liver")}
    size = found["size", "liver"]
    assert size.unit == "mm³"
    assert size.edges[0] <= 300.0
    assert size.edges[-1] >= 1800.0
    assert sum(size.counts["cases"]) == 6
    assert not size.logarithmic


def test_sizes_over_several_powers_of_ten_get_bins_that_grow():
    found = by_name(distributions_of(dataset(), [facts(0, voxels=1), facts(1, voxels=1000)]))["size", "liver"]
    assert found.logarithmic
    assert found.edges[1] / found.edges[0] == pytest.approx(found.edges[-1] / found.edges[-2])


def test_sizes_are_in_voxels_where_nobody_knows_how_large_one_is():
    assert label_size(facts(0, known=False), 2) == (100.0, "voxels")
    assert label_size(facts(0), 2) == (300.0, "mm³")
    assert label_size(facts(0, shape=(4, 4), spacing=(0.5, 0.5)), 2) == (25.0, "mm²")
    assert label_size(facts(0), 7) == (0.0, "mm³")


def test_numbers_to_predict_are_counted():
    number = LabelSet(kind="number", name="age", unit="a")
    found = by_name(distributions_of(dataset(number, (40.0, 50.0, 70.0)), []))["answer", "age"]
    assert (found.unit, sum(found.counts["cases"])) == ("a", 3)


def test_whole_numbers_are_counted_evenly():
    found = by_name(distributions_of(dataset(), [facts(0, values=np.arange(250))]))["intensity", "image"]
    widths = np.diff(found.edges)
    assert set(widths.tolist()) == {6.0}
    assert set(found.counts["everywhere"][:-1]) == {6}
