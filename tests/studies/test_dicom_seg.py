"""Segments become voxels where their frames lie, whatever the order; compared with highdicom; or they are refused."""

from __future__ import annotations

import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicom_label_samples import AXIAL, CORONAL, OBLIQUE, SAGITTAL, Series, write_seg, write_series
from osler.errors import GeometryError, StudyError, Unknown, Unreadable, Unsuitable
from osler.studies.formats import dicom_seg, read_image, read_labels
from osler.studies.image import Image
from osler.studies.structures import Code

FOLDER = "dicom-seg-sr"
SLIDES = ["control", "control_labelmap", "control_labelmap_palette_color", "dots", "dots_tiled_full", "numbers"]


def blob(shape: tuple[int, int, int] = (12, 10, 5), seed: int = 0) -> np.ndarray:
    """A random mask without symmetry, empty on the first slice."""
    mask = np.random.default_rng(seed).random(shape) > 0.6
    mask[..., 0] = False
    return mask


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, CORONAL, OBLIQUE])
@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL", "LABELMAP"])
def test_a_mask_comes_back_in_every_orientation_and_order_of_files_and_frames(
    orientation: tuple[float, ...], kind: str, tmp_path: Path
) -> None:
    series = write_series(tmp_path / "ct", orientation=orientation, order=[3, 0, 4, 1, 2])
    mask = blob()
    frames = [("thing", k) for k in (4, 1, 3, 2)]
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": mask}, kind=kind, frames=frames)
    image = read_image(tmp_path / "ct")
    found = read_labels(path, onto=image)
    np.testing.assert_array_equal(found.array[0] > 0, mask)
    np.testing.assert_array_equal(found.affine, image.affine)


@pytest.mark.parametrize("orientation", [AXIAL, OBLIQUE])
def test_without_an_image_the_mask_lies_at_the_same_places(orientation: tuple[float, ...], tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct", orientation=orientation)
    mask = blob()
    mask[..., 2] = False  # a slice without a frame between two that have one
    own = read_labels(write_seg(tmp_path / "seg.dcm", series, {"thing": mask}))
    assert own.shape == (12, 10, 4)
    np.testing.assert_array_equal(own.array[0] > 0, mask[..., 1:])
    corner = own.affine @ (0, 0, 0, 1)
    np.testing.assert_allclose(corner[:3] * (-1, -1, 1), series.place(0, 0, 1), atol=1e-4)
    np.testing.assert_allclose(own.spacing, (0.8, 0.5, 2.0), atol=1e-4)


def test_flipped_turned_and_cropped_frames_find_their_voxels(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    mask = blob()
    # The same voxels drawn from their opposite corner, with rows for columns, without the first two columns.
    row, column = np.array(AXIAL[:3], float), np.array(AXIAL[3:], float)
    turned = Series(
        series.folder, (10, 10, 5), (*-column, *-row), (0.5, 0.8, -2.0), tuple(series.place(11, 9, 0)),
        series.uid, series.frame, series.patient, series.study, series.instances,
    )  # fmt: skip
    drawn = mask[2:].transpose(1, 0, 2)[::-1, ::-1]
    path = write_seg(tmp_path / "seg.dcm", turned, {"thing": drawn})
    expected = mask.copy()
    expected[:2] = False
    np.testing.assert_array_equal(read_labels(path, onto=read_image(tmp_path / "ct")).array[0] > 0, expected)


def test_a_segmentation_is_laid_onto_an_image_in_another_orientation(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": blob()}, sources=False)
    image = read_image(tmp_path / "ct")
    flipped = Image(image.array[:, ::-1, :, ::-1].transpose(0, 3, 1, 2), _flipped_affine(image), modality="CT")
    np.testing.assert_array_equal(
        read_labels(path, onto=flipped).array,
        read_labels(path, onto=image).array[:, ::-1, :, ::-1].transpose(0, 3, 1, 2),
    )


def _flipped_affine(image: Image) -> np.ndarray:
    """New axes are the old K and I, reversed, then J."""
    i, _, k = image.shape
    step = np.array([[0, -1, 0, i - 1], [0, 0, 1, 0], [-1, 0, 0, k - 1], [0, 0, 0, 1.0]])
    return image.affine @ step


def test_a_fraction_counts_from_half_of_the_maximum(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    fractions = np.zeros(series.shape)
    fractions[0, :4, 1] = (0.49, 0.5, 0.51, 1.0)
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": fractions}, kind="FRACTIONAL", maximum=100)
    image = read_image(tmp_path / "ct")
    assert read_labels(path, onto=image).array[0, 0, :5, 1].tolist() == [0, 1, 1, 1, 0]
    stored = dicom_seg.read_fractions(path, onto=image)
    np.testing.assert_allclose(stored.array[0, 0, :4, 1], (0.49, 0.5, 0.51, 1.0), atol=1e-6)


def test_segments_that_overlap_are_read_one_by_one(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    organ, tumour = np.zeros(series.shape, bool), np.zeros(series.shape, bool)
    organ[2:8, 2:8, 1:4] = tumour[4:6, 4:6, 2] = True
    path = write_seg(tmp_path / "seg.dcm", series, {"organ": organ, "tumour": tumour})
    image = read_image(tmp_path / "ct")
    with pytest.raises(Unsuitable, match="'tumour' and 'organ' overlap in 4 voxels"):
        read_labels(path, onto=image)
    masks = dicom_seg.read_masks(path, onto=image)
    np.testing.assert_array_equal(masks(1), organ)
    np.testing.assert_array_equal(masks(2), tumour)
    np.testing.assert_array_equal(read_labels(path, key="tumour", onto=image).array[0] > 0, tumour)
    with pytest.raises(Unknown, match="'organ', 'tumour'"):
        read_labels(path, key="liver", onto=image)


def test_what_a_segment_is_comes_with_its_codes_and_hides_uids(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "seg.dcm", series, {"Liver": blob()}, codes={"Liver": ("10200004", "SCT", "Liver")})
    found = dicom_seg.read_structures(path)
    assert found.structures[0].kind == Code("10200004", "SCT", "Liver")
    assert found.structures[0].category == Code("123037004", "SCT", "Anatomical Structure")
    assert (found.series, found.frame_of_reference) == ((series.uid,), series.frame)
    assert found.instances == set(series.instances)
    assert series.uid not in repr(found)
    assert dicom_seg.numbers_in(path) == {1}


def test_a_segmentation_is_no_image(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    with pytest.raises(Unsuitable, match="no image"):
        read_image(write_seg(tmp_path / "seg.dcm", series, {"thing": blob()}))


def changed(path: Path, change: Any) -> Path:
    data = pydicom.dcmread(path)
    change(data)
    data.save_as(path)
    return path


def _move(millimetres: float) -> Any:
    def change(data: Any) -> None:
        for frame in data.PerFrameFunctionalGroupsSequence:
            position = frame.PlanePositionSequence[0].ImagePositionPatient
            position[0] = float(position[0]) + millimetres

    return change


def _cut(data: Any) -> None:
    data.PixelData = data.PixelData[:-8]


def _count(data: Any) -> None:
    data.NumberOfFrames = 3


def _spacing(data: Any) -> None:
    data.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].PixelSpacing = [0.6, 0.6]


def _huge(data: Any) -> None:
    data.PerFrameFunctionalGroupsSequence[-1].PlanePositionSequence[0].ImagePositionPatient[2] = 1e9


def _twice(data: Any) -> None:
    data.SegmentSequence.append(data.SegmentSequence[0])


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        (_move(0.3), GeometryError, "does not lie on the voxels of the image"),
        (_move(8.0), GeometryError, "shows something outside the image"),
        (_spacing, GeometryError, "does not lie on the voxels"),
        (_cut, Unreadable, "seg.dcm cannot be read.*pixels are cut off"),
        (_count, Unreadable, "has 3 frames and describes 4"),
        (_twice, Unreadable, "two of its segments have one number"),
        (lambda data: setattr(data, "FrameOfReferenceUID", "1.2.3"), GeometryError, "different frames of reference"),
        (lambda data: setattr(data, "BitsAllocated", 32), Unreadable, "12×10 pixels of 32 bits is not known"),
        (lambda data: delattr(data, "SegmentSequence"), Unreadable, "describes no segment"),
        (lambda data: delattr(data, "PerFrameFunctionalGroupsSequence"), Unreadable, "describes 0"),
    ],
)
def test_what_does_not_fit_is_refused(change: Any, error: type[Exception], reason: str, tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    mask = np.zeros(series.shape, bool)
    mask[:, :, 1:] = True
    path = changed(write_seg(tmp_path / "seg.dcm", series, {"thing": mask}), change)
    with pytest.raises(error, match=reason):
        read_labels(path, onto=read_image(tmp_path / "ct"))


def test_a_grid_of_absurd_size_is_refused(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = changed(write_seg(tmp_path / "seg.dcm", series, {"thing": blob()}), _huge)
    with pytest.raises(StudyError, match="impossible position"):
        read_labels(path)


def test_references_that_contradict_positions_are_refused(tmp_path: Path) -> None:
    """The bug that mirrors segmentations: frames in the order of another sorting of the slices."""
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": blob()})

    def mirror(data: Any) -> None:
        frames = data.PerFrameFunctionalGroupsSequence
        places = [frame.PlanePositionSequence for frame in frames]
        for frame, place in zip(frames, reversed(places), strict=True):
            frame.PlanePositionSequence = place

    with pytest.raises(GeometryError, match="names slice 2 as its source and lies on slice 5"):
        read_labels(changed(path, mirror), onto=read_image(tmp_path / "ct"))


def test_the_background_of_a_label_map_is_no_segment(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "seg.dcm", series, {"a": blob(), "b": np.zeros(series.shape, bool)}, kind="LABELMAP")

    def pad(data: Any) -> None:
        data.add_new("PixelPaddingValue", "US", 2)
        data.PixelData = bytes(2 if value == 0 else value for value in data.PixelData)

    found = read_labels(changed(path, pad), onto=read_image(tmp_path / "ct"))
    np.testing.assert_array_equal(found.array[0], blob())
    assert [one.name for one in dicom_seg.read_structures(path).structures] == ["a"]


@pytest.mark.parametrize("syntax", ["1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.8.1"])
def test_compressed_frames_are_decoded(syntax: str, tmp_path: Path) -> None:
    import imagecodecs
    from pydicom.encaps import encapsulate

    series = write_series(tmp_path / "ct")
    mask = blob()
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": mask}, kind="FRACTIONAL")

    def compress(data: Any) -> None:
        frames = np.frombuffer(data.PixelData, np.uint8)[: 4 * 120].reshape(4, 10, 12)
        if syntax.endswith(".2.5"):
            from pydicom.pixels.encoders import RLELosslessEncoder

            encoded = [RLELosslessEncoder.encode(f, rows=10, columns=12, samples_per_pixel=1, bits_allocated=8,
                       bits_stored=8, pixel_representation=0, number_of_frames=1, transfer_syntax_uid=syntax,
                       photometric_interpretation="MONOCHROME2") for f in frames]  # fmt: skip
        elif syntax.endswith(".90"):
            encoded = [imagecodecs.jpeg2k_encode(frame, level=0, reversible=True) for frame in frames]
        else:
            packer = [zlib.compressobj(wbits=-15) for _ in frames]
            encoded = [one.compress(frame.tobytes()) + one.flush() for one, frame in zip(packer, frames, strict=True)]
        data.PixelData = encapsulate([frame + b"\0" * (len(frame) % 2) for frame in encoded])
        data.file_meta.TransferSyntaxUID = syntax

    data = pydicom.dcmread(path)
    compress(data)
    data["PixelData"].VR = "OB"
    data["PixelData"].is_undefined_length = True
    pydicom.dcmwrite(path, data, implicit_vr=False, little_endian=True, force_encoding=True)
    found = read_labels(path, onto=read_image(tmp_path / "ct"))
    np.testing.assert_array_equal(found.array[0] > 0, mask)


def highdicom_volume(path: Path, segment: int) -> tuple[np.ndarray, np.ndarray]:
    """One segment (slices, rows, columns) and its LPS+ affine, by highdicom."""
    import highdicom as hd

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        volume = hd.seg.segread(path).get_volume(segment_numbers=[segment], allow_missing_positions=True)
    return volume.array[..., 0], volume.affine


@pytest.mark.parametrize(
    "name", ["ct_binary", "ct_binary_fractional", "ct_true_fractional", "ct_binary_overlap", "ct_binary_single_frame"]
)
def test_real_segmentations_of_ct_are_as_highdicom_reads_them(name: str, shared: Path) -> None:
    path = shared / FOLDER / f"seg_image_{name}.dcm"
    masks = dicom_seg.read_masks(path)
    fractions = dicom_seg.read_fractions(path)
    for place, one in enumerate(dicom_seg.read_structures(path).structures):
        values, affine = highdicom_volume(path, one.number)
        ours = fractions.array[place].reshape(*fractions.array.shape[1:3], -1)
        axes = fractions.affine.copy()
        axes[:2] *= -1
        places = {}
        for voxels, to_world in ((values, affine), (ours, axes)):
            indices = np.argwhere(voxels)
            world = (to_world @ np.column_stack([indices, np.ones(len(indices))]).T)[:3].T.round(2)
            places[len(places)] = {
                (*p, round(float(v), 4)) for p, v in zip(world, voxels[tuple(indices.T)], strict=True)
            }
        assert places[0] == places[1]
        assert len(places[0]) > 10
        np.testing.assert_array_equal(masks(one.number).reshape(ours.shape), ours >= 0.5)


def test_a_real_segmentation_lies_on_its_real_image(shared: Path) -> None:
    image = read_image(shared / FOLDER / "ct_image.dcm")
    mask = read_labels(shared / FOLDER / "seg_image_ct_binary_single_frame.dcm", onto=image)
    assert mask.shape == image.shape
    inside = image.array[mask.array > 0]
    assert inside.mean() > image.array[mask.array == 0].mean() + 300  # it is of bone


@pytest.mark.parametrize("name", SLIDES)
def test_real_segmentations_of_slides_are_as_highdicom_reads_them(name: str, shared: Path) -> None:
    import highdicom as hd

    path = shared / FOLDER / f"seg_image_sm_{name}.dcm"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.segread(path)
        labelmap = "labelmap" in name
        expected = seg.get_total_pixel_matrix(combine_segments=True, skip_overlap_checks=not labelmap)
    found = read_labels(path)
    np.testing.assert_array_equal(found.array[0].T, np.asarray(expected).squeeze())
    assert not found.orientation_known
    assert found.spacing == pytest.approx((0.000499, 0.000499))


def test_a_slide_of_another_level_is_refused(shared: Path) -> None:
    image = Image(np.zeros((3, 25, 25), np.uint8), spacing_known=False, orientation_known=False)
    with pytest.raises(GeometryError, match=r"50 × 50 pixels and the image of 25×25"):
        read_labels(shared / FOLDER / "seg_image_sm_dots.dcm", onto=image)


def test_a_segmentation_of_a_radiograph_needs_the_size_and_the_instance_of_its_image(shared: Path) -> None:
    path = shared / FOLDER / "seg_image_cr_binary.dcm"
    assert read_labels(path).shape == (16, 16)
    assert not read_labels(path).spacing_known
    with pytest.raises(GeometryError, match="16 × 16 pixels and the image of 211×169"):
        read_labels(path, onto=read_image(shared / FOLDER / "dx_image.dcm"))


def test_every_real_file_is_read_or_refused_with_a_reason(shared: Path) -> None:
    from pydicom.data import get_testdata_file

    files = [*sorted((shared / FOLDER).glob("*.dcm")), *(Path(str(get_testdata_file(f"liver{n}_1frame.dcm"))) for n in
             ("", "_expb"))]  # fmt: skip
    refused = {}
    for file in files:
        try:
            read_labels(file)
        except StudyError as error:
            refused[file.name] = error.problem
    labels = {file.name for file in files if dicom_seg.sniff(file)}
    assert set(refused) & labels == {"seg_image_ct_binary_overlap.dcm", "liver_1frame.dcm", "liver_expb_1frame.dcm"}
    assert "overlap in 16 voxels" in refused["seg_image_ct_binary_overlap.dcm"]
    assert "has 1 frames and describes 3" in refused["liver_1frame.dcm"]


def test_a_segmentation_that_highdicom_writes_is_read_on_real_slices_of_an_oblique_scan(
    shared: Path, tmp_path: Path
) -> None:
    import highdicom as hd
    from pydicom.sr.codedict import codes

    folder = shared / "brain-mr-dicom/Study1/36459-FLAIRreg-76244"
    image = read_image(folder)
    sources = [pydicom.dcmread(file) for file in sorted(folder.iterdir())]  # in the order of names, not of slices
    bright = np.stack([data.pixel_array > 300 for data in sources])
    description = hd.seg.SegmentDescription(
        1, "bright", codes.SCT.Tissue, codes.SCT.Lesion, hd.seg.SegmentAlgorithmTypeValues.MANUAL
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        seg = hd.seg.Segmentation(
            sources, bright, hd.seg.SegmentationTypeValues.BINARY, [description], hd.UID(), 7, hd.UID(), 1,
            "maker", "model", "1", "0",
        )  # fmt: skip
    seg.save_as(tmp_path / "seg.dcm")
    mask = read_labels(tmp_path / "seg.dcm", onto=image)
    np.testing.assert_array_equal(mask.array > 0, image.array > 300)
    assert mask.array.any()


@pytest.mark.parametrize("kind", ["BINARY", "LABELMAP"])
def test_a_damaged_file_is_refused_or_read_and_nothing_else(kind: str, tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    image = read_image(tmp_path / "ct")
    whole = write_seg(tmp_path / "seg.dcm", series, {"thing": blob()}, kind=kind).read_bytes()
    random = np.random.default_rng(0)
    refusals: list[str] = []
    for _ in range(60):
        data = np.frombuffer(whole, np.uint8).copy()
        data[random.integers(132, len(data), 12)] ^= random.integers(1, 256, 12, dtype=np.uint8)
        (tmp_path / "damaged.dcm").write_bytes(data[: random.integers(len(data) // 2, len(data) + 1)].tobytes())
        try:
            dicom_seg.read_labels(tmp_path / "damaged.dcm", onto=image)
        except StudyError as error:
            refusals.append(error.problem)
    assert len(refusals) > 40
    assert all("damaged.dcm" in problem for problem in refusals)


def test_images_that_say_nothing_of_their_frame_of_reference_are_matched_by_place_alone(tmp_path: Path) -> None:
    series = write_series(tmp_path / "ct")
    path = write_seg(tmp_path / "seg.dcm", series, {"thing": blob()})
    image = read_image(tmp_path / "ct")
    nameless = Image(image.array, image.affine)  # as from a NIfTI
    np.testing.assert_array_equal(read_labels(path, onto=nameless).array, read_labels(path, onto=image).array)
