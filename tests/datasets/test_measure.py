"""The fingerprint of datasets whose numbers are known."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
from PIL import Image as Picture

from osler.datasets.dataset import Dataset
from osler.datasets.facts import look
from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts import open_dataset
from osler.datasets.manifest import ImageRef, Manifest, Record
from osler.datasets.measure import choose, measure
from osler.errors import TooFew

ORGANS = LabelSet(kind="mask", labels=(Label(name="box", value=1), Label(name="rare", value=5)))
CLASSES = LabelSet(kind="classes", labels=(Label(name="a", value=0), Label(name="b", value=1)))


def write_volume(path, array, affine):
    nibabel.Nifti1Image(array, affine).to_filename(path)
    return ImageRef(path=path.name)


def volumes(root, count=4, *, affine=None, modality="", change=None):
    """Volumes of 20 × 30 × 10 (I, J, K) with a 6 × 5 × 4 box in each and a single "rare" voxel in the first."""
    affine = np.diag([1.0, 1, 1, 1]) if affine is None else affine
    records = []
    for n in range(count):
        mask = np.zeros((20, 30, 10), np.uint8)
        mask[2:8, 3:8, 4:8] = 1
        if n == 0:
            mask[15, 20, 1] = 5
        image = np.random.default_rng(n).normal(100.0 * (mask > 0), 1.0).astype(np.float32)
        if change:
            change(n, image, mask)
        images = {"image": write_volume(root / f"i{n}.nii.gz", image, affine)}
        records.append(Record(name=f"c{n}", images=images, mask=write_volume(root / f"m{n}.nii.gz", mask, affine)))
    manifest = Manifest(name="v", root=root, layout="test", labels=ORGANS, records=tuple(records), modality=modality)
    return Dataset(manifest)


def pictures(root, arrays, targets=None, labels=CLASSES):
    records = []
    for n, array in enumerate(arrays):
        Picture.fromarray(array).save(root / f"p{n}.png")
        target = targets[n] if targets else n % 2
        records.append(Record(name=f"p{n}", images={"image": ImageRef(path=f"p{n}.png")}, target=target))
    return Dataset(Manifest(name="p", root=root, layout="test", labels=labels, records=tuple(records)))


def noise(shape=(24, 24), seed=0):
    return np.random.default_rng(seed).integers(0, 255, shape).astype(np.uint8)


def measured(dataset, **options):
    return measure(dataset, dataset.records, **options)


def test_sizes_and_intensities_are_those_that_were_put_in(tmp_path):
    found = measured(volumes(tmp_path))
    box, rare = found.label_statistics
    assert (box.cases, box.median_voxels, box.median_extent) == (4, 120, (6, 5, 4))
    assert box.fraction == pytest.approx(120 / 6000)
    assert (rare.cases, rare.median_voxels, rare.median_extent) == (1, 1, (1, 1, 1))
    channel = found.channels[0]
    assert channel.foreground_mean == pytest.approx(100, abs=0.2)
    assert channel.foreground_std == pytest.approx(1, abs=0.1)
    assert channel.mean == pytest.approx(100 * 120 / 6000, abs=0.2)
    assert channel.percentile_50 == pytest.approx(0, abs=0.1)
    assert found.median_shape == (20, 30, 10)


def test_axes_are_those_of_the_working_orientation(tmp_path):
    superior_first = np.array([[0, 0, 2.0, 0], [0, -1.5, 0, 0], [3.0, 0, 0, 0], [0, 0, 0, 1]])
    found = measured(volumes(tmp_path, affine=superior_first))
    assert found.orientations == {"SPR": 4}
    assert found.median_shape == (10, 30, 20)
    assert found.median_spacing == pytest.approx((2, 1.5, 3))
    assert found.label_statistics[0].median_extent == (4, 5, 6)


def test_a_nifti_is_in_hounsfield_units_only_when_the_dataset_says_ct(tmp_path):
    assert measured(volumes(tmp_path)).units == ""
    found = measured(volumes(tmp_path, modality="CT"))
    assert (found.units, found.modality) == ("HU", "CT")
    assert measured(volumes(tmp_path, modality="MR")).units == ""


def test_pictures_have_no_modality_and_no_spacing(tmp_path):
    found = measured(pictures(tmp_path, [noise(seed=n) for n in range(6)]))
    assert (found.modality, found.spacing_known, found.colours, found.orientations) == ("", False, 1, {})
    assert [label.cases for label in found.label_statistics] == [3, 3]


def test_an_rgb_file_of_greys_is_grey_and_colour_is_colour(tmp_path):
    grey = [np.repeat(noise(seed=n)[..., None], 3, axis=2) for n in range(4)]
    assert measured(pictures(tmp_path, grey)).colours == 1
    assert measured(pictures(tmp_path, [noise((24, 24, 3), n) for n in range(4)])).colours == 3


def test_studies_that_cannot_be_used_are_listed_with_the_reason(tmp_path):
    def change(n, image, mask):
        if n == 1:
            image[:] = 7
        if n == 2:
            image[0, 0, 0] = np.nan
        if n == 3:
            mask[0, 0, 0] = 9

    dataset = volumes(tmp_path, 6, change=change)
    (tmp_path / "i4.nii.gz").write_bytes(b"no")
    found = measured(dataset)
    reasons = dict(found.unreadable)
    assert found.cases == 6
    assert "every value of image is 7" in reasons["c1"]
    assert "NaN" in reasons["c2"]
    assert "the mask holds 9" in reasons["c3"]
    assert "i4.nii.gz" in reasons["c4"]
    assert found.label_statistics[0].cases == 2


def test_a_dataset_of_which_nothing_can_be_used_is_refused(tmp_path):
    with pytest.raises(TooFew, match="none of the 2 training cases can be used; the first: every value of image is 3"):
        measured(pictures(tmp_path, [np.full((8, 8), 3, np.uint8)] * 2))


def test_symmetry_is_near_zero_for_what_mirrors_and_large_for_what_has_a_side(tmp_path):
    arrays = []
    for n in range(30):
        array = noise((32, 32), n)
        array[20:, :] //= 4  # the lower part is dark: up and down differ, left and right do not
        arrays.append(array)
    sideways, upright = measured(pictures(tmp_path, arrays)).symmetry
    assert sideways < 0.15
    assert upright > 1


def test_numbers_have_mean_and_spread(tmp_path):
    number = LabelSet(kind="number", unit="a")
    found = measured(pictures(tmp_path, [noise(seed=n) for n in range(3)], [1.0, 2.0, 6.0], number))
    assert found.target_mean == pytest.approx(3)
    assert found.target_std == pytest.approx(np.std([1, 2, 6]))


def test_several_labels_are_counted_where_they_are_present(tmp_path):
    several = CLASSES.model_copy(update={"kind": "several"})
    found = measured(pictures(tmp_path, [noise(seed=n) for n in range(3)], [(1, 0), (1, None), (0, 0)], several))
    assert [label.cases for label in found.label_statistics] == [2, 0]


def test_measuring_twice_and_with_more_threads_is_the_same(tmp_path):
    dataset = volumes(tmp_path)
    assert measured(dataset, workers=1) == measured(dataset, workers=3)


def test_a_sample_is_drawn_always_the_same_and_in_order():
    records = [Record(name=f"r{n}", images={}) for n in range(50)]
    chosen = choose(records, 10)
    assert [r.name for r in chosen] == [r.name for r in choose(records, 10)]
    assert len(chosen) == 10
    assert chosen == sorted(chosen, key=records.index)


def test_the_same_pixels_have_one_digest_and_others_another(tmp_path):
    dataset = pictures(tmp_path, [noise(seed=0), noise(seed=0), noise(seed=1)])
    digests = [look(dataset, record, digest=True).digest for record in dataset.records]
    assert digests[0] == digests[1] != digests[2]


def test_the_hippocampus_is_measured_as_its_files_say(shared):
    dataset = open_dataset(shared / "hippocampus")
    records = dataset.records[:6]
    found = measure(dataset, records)
    files = [nibabel.load(dataset.path_of(r.mask)) for r in records]
    shapes = np.array([file.shape for file in files])
    counts = [[(np.asarray(file.dataobj) == value).sum() for file in files] for value in (1, 2)]
    assert (found.modality, found.units, found.orientations) == ("MR", "", {"RAS": 6})
    assert found.median_shape == tuple(np.median(shapes, axis=0))
    assert [label.median_voxels for label in found.label_statistics] == [np.median(c) for c in counts]


def test_a_single_slice_with_a_place_has_an_orientation_and_a_picture_has_none(shared):
    record = Record(name="c", images={"image": ImageRef(path="ct_image.dcm")}, target=0)
    manifest = Manifest(name="d", root=shared / "dicom-seg-sr", layout="test", labels=CLASSES, records=(record,))
    assert look(Dataset(manifest), record).codes == "LP"
