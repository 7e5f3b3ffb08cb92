from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from dicom_samples import make_slice, save, write_series

from osler.errors import PathNotFound, UsageError
from osler.studies.discovery import channel_of, find_studies
from osler.studies.formats.base import stem_of


def _touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def _names(*paths: Path) -> list[str]:
    return [study.name for study in find_studies(paths)]


def test_what_a_prediction_wrote_is_no_study(tmp_path: Path) -> None:
    _touch(tmp_path, "a.nii.gz", "out/finished.jsonl", "out/a/findings.json", "out/a/mask.nii.gz", "out/a/overlay.png")
    assert _names(tmp_path) == ["a"]
    for folder in ("out", "out/a"):
        with pytest.raises(UsageError, match="holds no studies"):
            find_studies([tmp_path / folder])
    assert _names(tmp_path / "out/a/mask.nii.gz") == ["mask"]


@pytest.mark.parametrize("missing", ["finished.jsonl", "a/findings.json"])
def test_a_mask_that_no_prediction_wrote_is_a_study(tmp_path: Path, missing: str) -> None:
    _touch(tmp_path, "finished.jsonl", "a/findings.json", "a/mask.nii.gz")
    (tmp_path / missing).unlink()
    assert _names(tmp_path) == ["mask"]


@pytest.mark.parametrize(
    ("file", "stem"),
    [
        ("scan.nii.gz", "scan"),
        ("scan.nii", "scan"),
        ("a.b.png", "a.b"),
        ("notes", "notes"),
        ("CT.1.3.12.2.1107.5.583", "CT.1.3.12.2.1107.5.583"),
        ("IM.dcm", "IM"),
        (".png", ".png"),
    ],
)
def test_a_name_is_the_file_without_its_extension(file: str, stem: str) -> None:
    assert stem_of(Path(file)) == stem


def test_a_file_is_a_study_whatever_it_is(tmp_path: Path) -> None:
    _touch(tmp_path, "scan.nii.gz", "notes.txt")
    assert _names(tmp_path / "scan.nii.gz", tmp_path / "notes.txt") == ["scan", "notes"]


def test_a_folder_is_all_that_is_below_it_and_known(tmp_path: Path) -> None:
    _touch(tmp_path, "b.png", "a.nii.gz", "deep/er/c.jpg", "notes.txt", ".hidden.png", ".cache/d.png")
    assert _names(tmp_path) == ["a", "b", "c"]


def test_a_folder_with_a_series_is_one_study_named_as_the_folder(tmp_path: Path, shared: Path) -> None:
    write_series(tmp_path / "patient" / "series", [0, 5, 10])
    [study] = find_studies([tmp_path])
    assert (study.name, study.files) == ("series", (tmp_path / "patient" / "series",))
    assert _names(shared / "brain-mr-dicom") == ["12-T1post-05670", "36459-FLAIRreg-76244"]
    assert _names(shared / "ct-organs/dicom") == ["dicom"]


def test_a_folder_of_x_rays_is_a_study_per_file(tmp_path: Path) -> None:
    for number in range(3):
        data = make_slice(np.zeros((4, 6), np.uint16), None, Modality="DX")
        save(data, tmp_path / f"xray{number}.dcm")
    assert _names(tmp_path) == ["xray0", "xray1", "xray2"]


def test_a_lone_text_with_a_dicom_suffix_is_reported_under_its_own_name(tmp_path: Path) -> None:
    _touch(tmp_path, "visit/text.dcm", "visit/scan.nii.gz")
    (tmp_path / "visit" / "text.dcm").write_text("only some words\n" * 20)
    found = {study.name: study.files for study in find_studies([tmp_path])}
    assert found["text"] == (tmp_path / "visit" / "text.dcm",)
    assert set(found) == {"text", "scan"}


def test_two_series_in_one_folder_are_two_studies_that_can_be_read(tmp_path: Path) -> None:
    write_series(tmp_path / "mixed", [0, 5], series="1.1")
    for file in list((tmp_path / "mixed").iterdir()):
        file.rename(file.with_name("a" + file.name))
    write_series(tmp_path / "mixed", [0, 5], series="1.2")
    studies = find_studies([tmp_path])
    assert [study.name.startswith("mixed-") for study in studies] == [True, True]
    assert [study.read("image").shape for study in studies] == [(6, 4, 2), (6, 4, 2)]


def test_channels_become_one_study(tmp_path: Path) -> None:
    _touch(tmp_path, "x_0000.nii.gz", "x_0001.nii.gz", "y_0000.nii.gz", "x_10_0000.nii.gz")
    studies = find_studies([tmp_path])
    assert {study.name: list(study.paths) for study in studies} == {
        "x": ["0000", "0001"],
        "x_10": ["0000"],
        "y": ["0000"],
    }
    assert studies[0].files == (tmp_path / "x_0000.nii.gz", tmp_path / "x_0001.nii.gz")


def test_one_channel_takes_its_siblings_along(tmp_path: Path) -> None:
    _touch(tmp_path, "x[1]_0000.nii.gz", "x[1]_0001.nii.gz", "x[1]y_0001.nii.gz")
    [study] = find_studies([tmp_path / "x[1]_0001.nii.gz", tmp_path / "x[1]_0000.nii.gz"])
    assert (study.name, list(study.paths)) == ("x[1]", ["0000", "0001"])


def test_a_name_with_four_digits_is_no_channel_unless_it_is_nifti() -> None:
    assert channel_of(Path("case_0001.nii.gz")) == ("case", "0001")
    assert channel_of(Path("IM_0001.png")) is None
    assert channel_of(Path("case_001.nii.gz")) is None


def test_two_of_one_name_get_their_parents_names(tmp_path: Path) -> None:
    _touch(tmp_path, "p1/day1/scan.png", "p1/day2/scan.png", "p2/day1/scan.png", "p2/day1/other.png")
    assert _names(tmp_path) == ["p1-day1-scan", "day2-scan", "other", "p2-day1-scan"]


def test_two_of_one_name_in_one_folder_get_their_extension(tmp_path: Path) -> None:
    _touch(tmp_path, "scan.png", "scan.nii.gz", "Scan.jpg")
    assert sorted(_names(tmp_path)) == ["Scan-jpg", "scan-nii-gz", "scan-png"]


def test_a_study_named_twice_comes_once(tmp_path: Path) -> None:
    _touch(tmp_path, "a.png")
    assert _names(tmp_path, tmp_path / "a.png") == ["a"]


def test_a_link_to_above_has_an_end(tmp_path: Path) -> None:
    _touch(tmp_path, "deep/a.png")
    (tmp_path / "deep" / "up").symlink_to(tmp_path, target_is_directory=True)
    assert _names(tmp_path) == ["a"]


def test_a_missing_path_and_an_empty_folder_are_usage_errors(tmp_path: Path) -> None:
    with pytest.raises(PathNotFound, match="nowhere does not exist"):
        find_studies([tmp_path / "nowhere"])
    with pytest.raises(UsageError, match="holds no studies"):
        find_studies([_touch(tmp_path, "notes.txt")])
    with pytest.raises(UsageError, match="no study was named"):
        find_studies([])
