"""Every layout takes every format: real and converted real files in each of them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pydicom.data
import pytest

from dicom_label_samples import write_series
from layout_samples import picture
from osler.datasets.dataset import Dataset
from osler.datasets.layouts import open_dataset
from osler.errors import DatasetError, GridMismatch, StudyError
from osler.studies.formats import read_image, read_labels, write_image
from osler.studies.phantoms.chest_ct import write_study
from osler.workflows.inspect import inspect

FORMATS = (".nii.gz", ".nrrd", ".mha")


@pytest.fixture(scope="session")
def hippocampus(shared: Path) -> list[tuple[Path, Path]]:
    folder = shared / "hippocampus"
    pairs = json.loads((folder / "dataset.json").read_text())["training"][:6]
    return [(folder / one["image"], folder / one["label"]) for one in pairs]


def convert(source: Path, target: Path, *, mask: bool = False) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    write_image(read_labels(source) if mask else read_image(source), target)
    return target


def load(dataset: Dataset, place: int = 0):
    case = dataset.load(dataset.records[place])
    return case.study.image, case.mask


def check_pair(dataset: Dataset, pairs: list[tuple[Path, Path]]) -> None:
    """The converted files give the voxels, the place and the mask of the originals."""
    for place, (image, mask) in enumerate(pairs):
        found, found_mask = load(dataset, place)
        assert np.array_equal(found.array, read_image(image).array)
        assert np.abs(found.affine - read_image(image).affine).max() < 1e-3
        assert found_mask is not None
        assert np.array_equal(found_mask.array > 0, read_labels(mask).array > 0)


@pytest.mark.parametrize("ending", FORMATS)
def test_images_and_masks_may_be_of_any_volume_format(ending, hippocampus, tmp_path):
    for n, (image, mask) in enumerate(hippocampus[:2]):
        convert(image, tmp_path / f"d/images/a{n}{ending}")
        convert(mask, tmp_path / f"d/masks/a{n}_seg{ending}", mask=True)
    dataset = open_dataset(tmp_path / "d")
    assert dataset.manifest.layout == "image-mask-folders"
    check_pair(dataset, hippocampus[:2])


def test_image_and_mask_may_be_of_different_formats(hippocampus, tmp_path):
    image, mask = hippocampus[0]
    convert(image, tmp_path / "d/images/a.mha")
    convert(mask, tmp_path / "d/masks/a.nrrd", mask=True)
    check_pair(open_dataset(tmp_path / "d"), hippocampus[:1])


@pytest.mark.parametrize("ending", [".nrrd", ".mha"])
def test_a_mask_on_another_grid_is_told_from_the_headers_of_any_format(ending, hippocampus, tmp_path):
    (image, _), (_, other) = hippocampus[0], hippocampus[1]
    convert(image, tmp_path / f"d/images/a{ending}")
    convert(other, tmp_path / f"d/masks/a{ending}", mask=True)
    with pytest.raises(GridMismatch, match=r"the mask of a has .* voxels and its image"):
        open_dataset(tmp_path / "d")


def test_class_folders_hold_any_format(hippocampus, tmp_path):
    for n, (image, _) in enumerate(hippocampus):
        convert(image, tmp_path / f"d/{'ab'[n % 2]}/x{n}{FORMATS[n % 3]}")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.manifest.layout == "class-folders"
    assert [record.target for record in dataset] == [0, 0, 0, 1, 1, 1]
    images = {record.name: dataset.load(record).study.image for record in dataset}
    assert all(
        np.array_equal(images[f"x{n}"].array, read_image(image).array) for n, (image, _) in enumerate(hippocampus)
    )


def test_classes_of_real_dicom_series_are_studies_with_their_patients(shared, tmp_path):
    study = shared / "brain-mr-dicom/Study1"
    for n, series in enumerate(sorted(study.iterdir())):
        shutil.copytree(series, tmp_path / f"d/{'ab'[n]}/patient7")
    for n in range(2):
        write_series(tmp_path / f"d/{'ab'[n]}/p{n}", patient=f"p{n}", study=f"1.2.{n}")
    dataset = open_dataset(tmp_path / "d")
    assert (dataset.manifest.layout, len(dataset)) == ("class-folders", 4)
    assert {dataset.load(record).study.image.shape for record in dataset if "patient7" in record.name} == {
        (512, 512, 22)
    }
    by_name = {record.name: record.patient for record in dataset}
    real = [patient for name, patient in by_name.items() if "patient7" in name]
    assert dataset.manifest.patients == "given"
    assert real[0] == real[1]
    assert len(set(by_name.values())) == 3


def test_two_series_in_one_folder_of_a_class_are_two_cases(tmp_path):
    for name in "ab":
        write_series(tmp_path / f"d/{name}/p", patient="x", study="1.2.3")
        for file in sorted((tmp_path / f"d/{name}/p").iterdir()):
            file.rename(file.with_name(f"one-{file.name}"))
        write_series(tmp_path / f"d/{name}/q", patient="x", study="1.2.3")
        for file in sorted((tmp_path / f"d/{name}/q").iterdir()):
            file.rename(tmp_path / f"d/{name}/p/two-{file.name}")
        (tmp_path / f"d/{name}/q").rmdir()
    dataset = open_dataset(tmp_path / "d")
    assert len(dataset) == 4
    assert len({(ref.path, ref.key) for record in dataset for ref in record.images.values()}) == 4
    assert all(load(dataset, place)[0].dimensions == 3 for place in range(4))


def test_a_dicom_series_has_its_mask_in_another_format_beside_it(tmp_path):
    for n in range(2):
        write_series(tmp_path / f"d/images/p{n}", patient=f"p{n}", study=f"1.2.{n}")
        image = read_image(tmp_path / f"d/images/p{n}")
        mask = np.zeros(image.array.shape, np.uint8)
        mask[:, 2:5, 3:6, 1] = 1
        (tmp_path / "d/masks").mkdir(exist_ok=True)
        write_image(type(image)(mask, image.affine), tmp_path / f"d/masks/p{n}.nrrd")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.manifest.layout == "image-mask-folders"
    assert load(dataset)[1].array.sum() == 9
    assert dataset.manifest.patients == "given"


@pytest.mark.parametrize("ending", FORMATS)
def test_nnunet_and_decathlon_take_any_volume_format(ending, hippocampus, tmp_path):
    for n, (image, mask) in enumerate(hippocampus[:2]):
        convert(image, tmp_path / f"nn/imagesTr/a{n}_0000{ending}")
        convert(mask, tmp_path / f"nn/labelsTr/a{n}{ending}", mask=True)
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    (tmp_path / "nn/dataset.json").write_text(
        json.dumps({"channel_names": {"0": "T1"}, "labels": labels, "file_ending": ending})
    )
    assert open_dataset(tmp_path / "nn").manifest.layout == "nnunet"
    check_pair(open_dataset(tmp_path / "nn"), hippocampus[:2])
    pairs = [{"image": f"./imagesTr/a{n}_0000{ending}", "label": f"./labelsTr/a{n}{ending}"} for n in range(2)]
    for n in range(2):
        (tmp_path / f"nn/labelsTr/a{n}{ending}").rename(tmp_path / f"nn/labelsTr/a{n}_0000{ending}")
        pairs[n]["label"] = f"./labelsTr/a{n}_0000{ending}"
    content = {"training": pairs, "labels": {"0": "background", "1": "anterior", "2": "posterior"}}
    (tmp_path / "nn/dataset.json").write_text(json.dumps(content))
    assert open_dataset(tmp_path / "nn").manifest.layout == "decathlon"
    check_pair(open_dataset(tmp_path / "nn"), hippocampus[:2])


def test_a_decathlon_entry_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "imagesTr").mkdir()
    (tmp_path / "imagesTr/a.txt").write_text("x")
    entry = {"image": "imagesTr/a.txt", "label": "imagesTr/a.txt"}
    (tmp_path / "dataset.json").write_text(json.dumps({"training": [entry], "labels": {"1": "x"}}))
    with pytest.raises(DatasetError, match=r"a.txt, which is no image that Osler reads"):
        open_dataset(tmp_path)


def test_bids_and_masks_per_class_take_nrrd(hippocampus, tmp_path):
    for n, (image, mask) in enumerate(hippocampus[:2]):
        convert(image, tmp_path / f"bids/sub-{n}/anat/sub-{n}_T1w.nrrd")
        convert(mask, tmp_path / f"bids/derivatives/m/sub-{n}/anat/sub-{n}_dseg.nrrd", mask=True)
        convert(image, tmp_path / f"cases/s{n}/ct.nrrd")
        parts = read_labels(mask)
        for value, name in ((1, "anterior"), (2, "posterior")):
            target = tmp_path / f"cases/s{n}/segmentations/{name}.mha"
            target.parent.mkdir(exist_ok=True)
            write_image(type(parts)((parts.array == value).astype(np.uint8), parts.affine), target)
    bids = open_dataset(tmp_path / "bids")
    assert (bids.manifest.layout, [record.patient for record in bids]) == ("bids", ["sub-0", "sub-1"])
    check_pair(bids, hippocampus[:2])
    cases = open_dataset(tmp_path / "cases")
    assert (cases.manifest.layout, cases.labels.names) == ("masks-per-class", ("anterior", "posterior"))
    check_pair(cases, hippocampus[:2])
    assert np.array_equal(load(cases)[1].array, read_labels(hippocampus[0][1]).array)


def test_a_folder_per_case_may_hold_the_slices_of_a_ct_or_a_folder_of_them(tmp_path):
    for n, place in enumerate(("s0/ct", "s1")):
        write_series(tmp_path / "d" / place, patient=f"p{n}", study=f"1.2.{n}")
        image = read_image(tmp_path / "d" / place)
        (tmp_path / f"d/s{n}/segmentations").mkdir()
        for name, index in (("liver", 1), ("spleen", 2)):
            mask = np.zeros(image.array.shape, np.uint8)
            mask[:, 2:4, 2:4, index] = 1
            write_image(type(image)(mask, image.affine), tmp_path / f"d/s{n}/segmentations/{name}.nii.gz")
    dataset = open_dataset(tmp_path / "d")
    assert (dataset.manifest.layout, len(dataset), dataset.labels.names) == ("masks-per-class", 2, ("liver", "spleen"))
    assert all(set(np.unique(load(dataset, n)[1].array)) == {0, 1, 2} for n in range(2))
    assert dataset.manifest.patients == "given"


def test_the_real_nrrd_pairs_are_images_with_masks_beside_them_and_orphans_are_noted(shared):
    dataset = open_dataset(shared / "radiomics-reference")
    assert [record.name for record in dataset] == [
        "brain1_image", "brain2_image", "breast1_image", "prostate_phantom_subvolume",
    ]  # fmt: skip
    assert all(load(dataset, place)[1].array.any() for place in range(4))
    assert "2 masks have no image beside them and are not used (lung1_label.nrrd, lung2_label.nrrd)" in (
        dataset.manifest.notes
    )


def test_a_manifest_names_folders_keys_pages_and_frames(shared, hippocampus, tmp_path):
    convert(hippocampus[0][0], tmp_path / "a.nrrd")
    frames = [np.full((12, 10), value, np.uint8) for value in (10, 200)]
    import PIL.Image

    pictures = [PIL.Image.fromarray(frame) for frame in frames]
    for name in ("stack.tif", "clip.gif"):
        pictures[0].save(tmp_path / name, save_all=True, append_images=pictures[1:])
    dicom = shared / "brain-mr-dicom/Study1"
    series = sorted({file.parent for file in dicom.rglob("*.dcm")})[0]
    film = Path(pydicom.data.get_testdata_file("examples_ybr_color.dcm"))
    rows = ["image,label", "a.nrrd,x", f"{series},y", "stack.tif#index=1,x", "clip.gif#index=1,y", f"{film}#index=2,x"]
    (tmp_path / "manifest.csv").write_text("\n".join(rows))
    dataset = open_dataset(tmp_path)
    images = [load(dataset, place)[0] for place in range(5)]
    assert images[1].shape == (512, 512, 22)
    assert (int(images[2].array.max()), int(images[3].array.max())) == (200, 200)
    assert images[4].array.shape[0] == 3


def test_a_stack_of_pages_without_a_choice_is_listed_and_says_what_to_write(tmp_path):
    import PIL.Image

    for n, name in enumerate("ab"):
        picture(tmp_path / f"d/{name}/x{n}.png")
        page = PIL.Image.fromarray(np.full((10, 12), 7 * n + 3, np.uint8))
        page.save(tmp_path / f"d/{name}/stack{n}.tif", save_all=True, append_images=[page])
    dataset = open_dataset(tmp_path / "d")
    stacked = next(record for record in dataset if record.name == "stack0")
    with pytest.raises(StudyError, match="holds 2 pages, and a picture has one"):
        dataset.load(stacked)


def test_signals_beside_images_are_no_cases(shared, tmp_path):
    for n, name in enumerate("ab"):
        picture(tmp_path / f"d/{name}/x{n}.png")
        for suffix in (".hea", ".dat"):
            shutil.copy(shared / f"ecg-mitbih/100{suffix}", tmp_path / f"d/{name}/100{suffix}")
    assert [record.name for record in open_dataset(tmp_path / "d")] == ["x0", "x1"]


def test_an_inspection_of_dicom_without_labels_knows_the_patient(shared):
    found = inspect(shared / "brain-mr-dicom")
    assert (found.cases, found.patients) == (2, 1)


def test_a_link_to_a_folder_above_has_an_end_and_other_links_are_followed(tmp_path):
    for n in range(4):
        picture(tmp_path / f"d/{'ab'[n % 2]}/x{n}.png")
    picture(tmp_path / "elsewhere/y.png")
    (tmp_path / "d/a/round").symlink_to(tmp_path / "d", target_is_directory=True)
    (tmp_path / "d/b/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert [record.name for record in open_dataset(tmp_path / "d")] == ["x0", "x2", "more-y", "x1", "x3"]


def test_a_copied_series_is_a_case_of_its_own_which_inspection_finds(tmp_path):
    for n in range(4):
        write_study(tmp_path / f"d/{'ab'[n % 2]}/p{n}", n, size=(32, 32, 16))
    shutil.copytree(tmp_path / "d/a/p0", tmp_path / "d/a/again")
    assert sorted(record.name for record in open_dataset(tmp_path / "d")) == ["again", "p0", "p1", "p2", "p3"]
    copies = [problem for problem in inspect(tmp_path / "d").problems if problem.code == "copies-within"]
    assert [set(problem.cases) for problem in copies] == [{"again", "p0"}]
