"""Series that hold more than one volume, less than one, or the same twice."""

from __future__ import annotations

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from dicom_samples import make_slice, save, write_series
from pydicom import dcmread
from pydicom.dataset import Dataset

from osler.errors import GeometryError, Unreadable, Unsuitable
from osler.studies.discovery import find_studies
from osler.studies.formats import read_image
from osler.studies.formats.dicom_index import index_folder

SAGITTAL = (0.0, 1.0, 0.0, 0.0, 0.0, -1.0)


def _write(folder: Path, name: str, value: int, z: float, **attributes: Any) -> Path:
    data = make_slice(np.full((4, 6), value, np.int16), (-10, -20, z), RescaleIntercept=0, **attributes)
    return save(data, folder / f"{name}.dcm")


def _repeated(folder: Path, different: Sequence[dict[str, Any]], places: Sequence[float] = (0, 5, 10)) -> Path:
    """The same places once per item of ``different``; the slices of item n hold the value 10 n."""
    for number, attributes in enumerate(different):
        for place, z in enumerate(places):
            _write(folder, f"{place}-{number}", 10 * number, z, **attributes)
    return folder


def _labels(folder: Path) -> list[str]:
    return [image.label for image in index_folder(folder).images]


@pytest.mark.parametrize(
    ("different", "labels"),
    [
        ([{"TemporalPositionIdentifier": n} for n in (1, 2, 3)], ["time1", "time2", "time3"]),
        ([{"EchoTime": ms} for ms in (4.6, 9.2)], ["echo1", "echo2"]),
        ([{"DiffusionBValue": float(b)} for b in (0, 500, 1000)], ["b0", "b500", "b1000"]),
        ([{"AcquisitionNumber": n} for n in (3, 7)], ["acquisition1", "acquisition2"]),
        ([{"FlipAngle": n} for n in (5, 15)], ["flip5", "flip15"]),
        ([{"KVP": n} for n in (80, 140)], ["kvp80", "kvp140"]),
        ([{"ImageType": ["ORIGINAL", "PRIMARY", kind]} for kind in ("W", "F")], ["f", "w"]),
        ([{"FrameReferenceTime": n} for n in (500, 1500)], ["frame1", "frame2"]),
        (
            [{"EchoTime": ms, "ImageType": ["ORIGINAL", "PRIMARY", kind]} for ms in (2, 4) for kind in ("M", "P")],
            ["echo1-m", "echo1-p", "echo2-m", "echo2-p"],
        ),
        (
            [{"DiffusionBValue": 0.0}]
            + [{"DiffusionBValue": 1000.0, "DiffusionGradientOrientation": np.eye(3)[n].tolist()} for n in range(3)],
            ["b0", "b1000-direction1", "b1000-direction2", "b1000-direction3"],
        ),
    ],
)
def test_a_series_in_four_dimensions_is_split_by_what_tells_it_apart(
    different: list[dict[str, Any]], labels: list[str], tmp_path: Path
) -> None:
    folder = _repeated(tmp_path / "series", different)
    assert _labels(folder) == labels
    with pytest.raises(Unsuitable, match=f"holds {len(labels)} images in 1 series.*{labels[0]}"):
        read_image(folder)
    volumes = [read_image(folder, key=label) for label in labels]
    assert [volume.array.shape for volume in volumes] == [(1, 6, 4, 3)] * len(labels)
    assert sorted(int(volume.array.max()) for volume in volumes) == [10 * n for n in range(len(labels))]
    assert all((volume.array == volume.array[0, 0, 0, 0]).all() for volume in volumes)
    assert f"split by {'diffusion' if 'Gradient' in str(different) else ''}"[:8] in volumes[0].notes[0]


def test_b_values_of_siemens_are_found_under_their_creator(tmp_path: Path) -> None:
    for number, b in enumerate((0, 800)):
        for z in (0, 5, 10):
            data = make_slice(np.full((4, 6), b, np.int16), (0, 0, z), RescaleIntercept=0)
            block = data.private_block(0x0019, "SIEMENS MR HEADER", create=True)
            block.add_new(0x0C, "IS", str(b))
            save(data, tmp_path / "series" / f"{z}-{number}.dcm")
    assert _labels(tmp_path / "series") == ["b0", "b800"]
    assert int(read_image(tmp_path / "series", key="b800").array.max()) == 800


def test_heart_phases_are_ranked_by_trigger_time_at_each_place(tmp_path: Path) -> None:
    for place in range(3):
        for phase in range(4):  # every slice was made in a breath-hold of its own, at another heart rate
            _write(tmp_path / "cine", f"{place}-{phase}", phase, 8.0 * place, TriggerTime=phase * (40 + place))
    assert _labels(tmp_path / "cine") == ["phase1", "phase2", "phase3", "phase4"]
    assert (read_image(tmp_path / "cine", key="phase3").array == 2).all()


def test_repetitions_are_told_apart_by_time_only_when_one_is_over_before_the_next(tmp_path: Path) -> None:
    for number in range(2):
        for place in range(3):
            clock = f"1200{10 * number + place:02}"
            _write(tmp_path / "after", f"{number}{place}", number, 5.0 * place, AcquisitionTime=clock)
            mixed = f"1200{(10, 1)[number] + (0, 15, 3)[place]:02}"
            _write(tmp_path / "mixed", f"{number}{place}", number, 5.0 * place, AcquisitionTime=mixed)
    assert _labels(tmp_path / "after") == ["time1", "time2"]
    with pytest.raises(GeometryError, match="two slices at one place with different pixels"):
        read_image(tmp_path / "mixed")


def test_a_last_repetition_that_was_cut_short_does_not_spoil_the_others(tmp_path: Path) -> None:
    folder = _repeated(tmp_path / "series", [{"TemporalPositionIdentifier": n} for n in (1, 2)])
    (folder / "1-1.dcm").unlink()
    assert read_image(folder, key="time1").array.shape == (1, 6, 4, 3)
    with pytest.raises(GeometryError, match=r"time2 .*: it has slices at 2 of the 3 places"):
        read_image(folder, key="time2")  # two slices alone would pass for a volume of twice the spacing


def test_the_same_file_twice_counts_once(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    (folder / "copy.dcm").write_bytes((folder / "slice01.dcm").read_bytes())
    image = read_image(folder)
    assert image.array.shape == (1, 6, 4, 3)
    assert image.notes == ("1 copy of a slice was left out",)


def test_two_objects_with_the_same_pixels_at_one_place_count_once(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    save(make_slice(np.full((4, 6), 1, np.int16), (-10, -20, 5)), folder / "x.dcm")
    assert read_image(folder).array.shape == (1, 6, 4, 3)


def test_two_slices_at_one_place_with_other_pixels_are_refused(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    save(make_slice(np.full((4, 6), 9, np.int16), (-10, -20, 5)), folder / "x.dcm")
    with pytest.raises(GeometryError, match=r"slice01.dcm and x.dcm"):
        read_image(folder)


def test_a_missing_slice_is_counted(tmp_path: Path) -> None:
    with pytest.raises(GeometryError, match=r"10.00 mm between slices 3 and 4 of 5, so 1 is missing there"):
        read_image(write_series(tmp_path / "one", [0, 5, 10, 20, 25]))
    with pytest.raises(GeometryError, match=r"so 2 are missing there"):
        read_image(write_series(tmp_path / "two", [0, 5, 10, 15, 30]))
    with pytest.raises(GeometryError, match=r"but 7.00 mm between slices 3 and 4 of 5$|but 7.00 mm .* of 5\."):
        read_image(write_series(tmp_path / "uneven", [0, 5, 10, 17, 22]))


@pytest.mark.parametrize("place", [0, 2, 5])
@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"ImageOrientationPatient": [-1, 0, 0, 0, 1, 0]}, "mixed orientations"),
        ({"PixelSpacing": [0.5, 0.81]}, "mixed pixel spacings"),
    ],
)
def test_a_slice_that_contradicts_its_series_is_named_wherever_it_lies(
    change: dict[str, Any], said: str, place: int, tmp_path: Path
) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10, 15, 20, 25])
    file = folder / f"slice{place:02}.dcm"
    data = dcmread(file)
    for keyword, value in change.items():
        setattr(data, keyword, value)
    save(data, file)
    with pytest.raises(GeometryError, match=rf"{said} in one series: 1 of its 6 slices .*\({file.name}\)"):
        read_image(folder)
    assert len(index_folder(folder).images) == 1  # one case is refused, and none passes for complete


def test_parallel_stacks_of_two_spacings_at_other_places_are_two_images(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    for number, z in enumerate((100, 103, 106)):
        save(make_slice(np.full((4, 6), 1, np.int16), (-10, -20, z), spacing=(1, 1)), folder / f"other{number}.dcm")
    assert [image.stack.problem for image in index_folder(folder).images if image.stack] == ["", ""]


def test_slices_without_a_position_say_why_they_are_pictures(tmp_path: Path) -> None:
    for number in range(3):
        save(make_slice(np.full((4, 6), number, np.int16), None), tmp_path / f"{number}.dcm")
    said = [image.notes[-1] for image in index_folder(tmp_path).images]
    assert len(said) == 3
    assert all("ImagePositionPatient" in note and "the 3 slices of the series cannot be" in note for note in said)
    assert "the slice has no place in the patient" in read_image(tmp_path / "1.dcm").notes[0]


def test_spacing_that_drifts_is_refused(tmp_path: Path) -> None:
    places = np.cumsum(np.linspace(5, 5.2, 40))  # no gap is 5 % off the median, and the last slice is 2 mm off
    with pytest.raises(GeometryError, match="do not lie on one line"):
        read_image(write_series(tmp_path / "series", places.tolist()))


def test_localizers_in_the_series_are_left_out_and_said(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    for number, orientation in enumerate((SAGITTAL, (1, 0, 0, 0, 0, -1))):
        scout = make_slice(
            np.zeros((8, 8), np.int16),
            (0, 0, 0),
            orientation=orientation,
            ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"],
        )
        save(scout, folder / f"scout{number}.dcm")
    image = read_image(folder)
    assert image.array.shape == (1, 6, 4, 3)
    assert image.notes == ("2 localizers of the series left out",)
    assert _labels(folder) == ["axial", "localizer-sagittal", "localizer-coronal"]
    assert read_image(folder, key="localizer-coronal").array.shape == (1, 8, 8)
    [study] = find_studies([folder])
    assert study.name == "series"


def test_a_series_of_localizers_only_is_one_study_per_plane(tmp_path: Path) -> None:
    for number, orientation in enumerate((SAGITTAL, (1, 0, 0, 0, 0, -1))):
        scout = make_slice(np.zeros((8, 8), np.int16), orientation=orientation, ImageType=["A", "B", "LOCALIZER"])
        save(scout, tmp_path / "scouts" / f"{number}.dcm")
    assert [study.read("image").dimensions for study in find_studies([tmp_path])] == [2, 2]


def test_a_tree_of_patients_and_studies_is_sorted_out_by_headers(tmp_path: Path) -> None:
    flat = tmp_path / "export"
    number = 0
    for patient in ("A", "B"):
        for study in ("1", "2"):
            for z in (0, 5, 10):  # the same series UID everywhere: patients and studies tell them apart
                _write(
                    flat,
                    f"IM{number:04}",
                    number // 3,
                    z,
                    PatientID=patient,
                    StudyInstanceUID=f"1.{study}.{ord(patient)}",
                )
                number += 1
    found = index_folder(tmp_path)
    assert (found.patients, found.studies, len(found.series)) == (2, 4, 4)
    studies = find_studies([tmp_path])
    assert [study.read("image").array.shape for study in studies] == [(1, 6, 4, 3)] * 4
    assert [int(study.read("image").array.max()) for study in studies] == [0, 1, 2, 3]
    assert len({study.name for study in studies}) == 4
    assert not any(secret in str(studies) + str(found) for secret in ("secret", "Secret", "1.1.65"))


def test_a_series_whose_files_lie_in_two_folders_is_one(tmp_path: Path) -> None:
    write_series(tmp_path / "disc" / "a", [0, 5])
    for number, z in enumerate((10, 15)):
        _write(tmp_path / "disc" / "b", f"{number}", 7, z, series="1.2.3")
    [study] = find_studies([tmp_path])
    assert study.name == "disc"
    assert study.read("image").array.shape == (1, 6, 4, 4)


def test_folders_that_share_uids_but_not_pictures_are_series_of_their_own(tmp_path: Path) -> None:
    for folder in ("one", "two"):  # an anonymiser that wrote the same UIDs everywhere
        write_series(tmp_path / folder, [0, 5, 10])
    found = index_folder(tmp_path)
    assert len(found.series) == 2
    assert "2 folders share its UIDs" in found.images[0].notes[0]
    assert [study.name for study in find_studies([tmp_path])] == ["one", "two"]


def test_a_copy_of_a_whole_series_in_another_folder_counts_once(tmp_path: Path) -> None:
    write_series(tmp_path / "one", [0, 5, 10])
    (tmp_path / "backup").mkdir()
    for file in (tmp_path / "one").iterdir():
        (tmp_path / "backup" / file.name).write_bytes(file.read_bytes())
    [study] = find_studies([tmp_path])
    image = study.read("image")
    assert image.array.shape == (1, 6, 4, 3)
    assert "3 copies of slices were left out" in image.notes


def test_empty_uids_make_one_series_per_folder_and_say_so(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        for z in (0, 5, 10):
            _write(tmp_path / folder, f"{z}", 1, z, series="", SOPInstanceUID="", StudyInstanceUID="")
    studies = find_studies([tmp_path])
    assert [study.name for study in studies] == ["one", "two"]
    assert "SeriesInstanceUID is empty" in studies[0].read("image").notes[0]


def test_one_instance_uid_for_all_slices_is_no_reason_to_drop_any(tmp_path: Path) -> None:
    for z in (0, 5, 10):
        _write(tmp_path / "series", f"{z}", z, z, SOPInstanceUID="1.2.3.4")
    image = read_image(tmp_path / "series")
    assert image.array[0, 0, 0].tolist() == [0, 5, 10]
    assert image.notes == ("its SOPInstanceUIDs are not unique: slices are told apart by their places",)


def test_what_is_no_image_beside_a_series_is_left_out_and_said(tmp_path: Path, shared: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    report = shared / "dicom-seg-sr/sr_document.dcm"
    (folder / "report.dcm").write_bytes(report.read_bytes())
    assert read_image(folder).notes == ("1 file beside it left out: Comprehensive 3D SR Storage",)


def test_a_file_that_cannot_be_read_spoils_the_only_series_of_its_folder(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    (folder / "broken.dcm").write_bytes(b"not DICOM at all" * 20)
    with pytest.raises(Unreadable, match=r"broken.dcm"):
        read_image(folder)
    write_series(tmp_path / "series", [0, 5], series="1.9", shape=(2, 2))
    names = [study.name for study in find_studies([tmp_path])]
    assert "broken" in names


def test_a_film_gives_one_frame_by_its_index(tmp_path: Path) -> None:
    pixels = np.stack([np.full((4, 6), n, np.uint16) for n in range(5)])
    path = save(make_slice(pixels, None, NumberOfFrames=5, RescaleIntercept=0, Modality="XA"), tmp_path / "cine.dcm")
    assert (read_image(path, index=3).array == 3).all()
    for index in (5, -1):
        with pytest.raises(GeometryError, match="from 0 to 4"):
            read_image(path, index=index)
    one = save(make_slice(np.zeros((4, 6), np.int16)), tmp_path / "one.dcm")
    with pytest.raises(Unsuitable, match="no film"):
        read_image(one, index=0)


def test_a_key_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    folder = write_series(tmp_path / "series", [0, 5, 10])
    with pytest.raises(Unsuitable, match=r"0 of them are called 'b1000'.*axial 3 slices of 6×4"):
        read_image(folder, key="b1000")


def _enhanced(values: Sequence[tuple[float, float, int]]) -> Dataset:
    """Frames of (height, b-value, value) in that order."""
    data = make_slice(np.stack([np.full((4, 6), value, np.int16) for _, _, value in values]), None, RescaleIntercept=0)
    data.NumberOfFrames = len(values)
    shared, orientation, measures = Dataset(), Dataset(), Dataset()
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    measures.PixelSpacing, measures.SliceThickness = [0.5, 0.8], 2
    shared.PlaneOrientationSequence, shared.PixelMeasuresSequence = [orientation], [measures]
    data.SharedFunctionalGroupsSequence = [shared]
    data.PerFrameFunctionalGroupsSequence = []
    for z, b, _ in values:
        frame, position, diffusion = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [-10, -20, z]
        diffusion.DiffusionBValue = b
        frame.PlanePositionSequence, frame.MRDiffusionSequence = [position], [diffusion]
        data.PerFrameFunctionalGroupsSequence.append(frame)
    return data


def test_an_enhanced_file_of_several_volumes_gives_each(tmp_path: Path) -> None:
    values = [(z, b, int(b + z)) for z in (10.0, 0.0, 5.0) for b in (1000.0, 0.0)]
    path = save(_enhanced(values), tmp_path / "dwi.dcm")
    with pytest.raises(Unsuitable, match="b1000"):
        read_image(path)
    assert read_image(path, key="b1000").array[0, 0, 0].tolist() == [1000, 1005, 1010]
    assert read_image(path, key="b0").array[0, 0, 0].tolist() == [0, 5, 10]
    assert [study.name for study in find_studies([tmp_path])] == ["dwi-b0", "dwi-b1000"]
    assert [int(study.read("image").array.min()) for study in find_studies([path])] == [0, 1000]


def test_an_enhanced_file_without_a_place_for_each_frame_is_refused(tmp_path: Path) -> None:
    data = _enhanced([(0.0, 0.0, 1), (5.0, 0.0, 2), (10.0, 0.0, 3)])
    del data.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence
    with pytest.raises(GeometryError, match="3 frames and a position for 2"):
        read_image(save(data, tmp_path / "a.dcm"))
    del data.PerFrameFunctionalGroupsSequence[1]
    with pytest.raises(GeometryError, match="holds 3 frames and describes 2"):
        read_image(save(data, tmp_path / "b.dcm"))


def test_a_mosaic_of_siemens_is_refused_and_never_taken_for_one_slice(tmp_path: Path) -> None:
    source = Path(nibabel.__file__).parent / "nicom/tests/data/siemens_dwi_1000.dcm.gz"
    (tmp_path / "mosaic.dcm").write_bytes(gzip.decompress(source.read_bytes()))
    with pytest.raises(GeometryError, match=r"mosaic.dcm is a mosaic: the slices of a volume as tiles"):
        read_image(tmp_path / "mosaic.dcm")


def test_the_tilt_of_a_gantry_is_said(tmp_path: Path) -> None:
    tilt = np.radians(20)
    orientation = (1.0, 0.0, 0.0, 0.0, float(np.cos(tilt)), float(np.sin(tilt)))
    for number in range(4):
        data = make_slice(np.zeros((4, 6), np.int16), (0, 0, 3.0 * number), orientation=orientation)
        save(data, tmp_path / "tilted" / f"{number}.dcm")
    image = read_image(tmp_path / "tilted")
    assert image.notes == ("the gantry was tilted by 20.0°: the affine is sheared accordingly",)
