"""Everything on the list of planted patient data is there, and nothing of it in clean phantoms."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import PIL.Image
import pydicom
import pytest
import tifffile

from osler.studies.formats import read_image
from osler.studies.phantoms import chest_ct
from osler.studies.phantoms.planted import KINDS, Plant, draw_person, write_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("planted")
    write_dataset(folder, cases=1, seed=3)
    return folder


@pytest.fixture(scope="module")
def plants(folder: Path) -> list[Plant]:
    with (folder / "planted.csv").open() as file:
        return [
            Plant(r["file"], r["place"], r["kind"], r["value"], tuple(map(int, r["box"].split())) or None)  # type: ignore[arg-type]
            for r in csv.DictReader(file)
        ]


def text_in(path: Path) -> bytes:
    """What a search for text finds in a file, unpacked where it is packed."""
    data = path.read_bytes()
    if path.suffix == ".gz":
        return data[:300] + gzip.decompress(data)
    if path.suffix == ".png":
        with PIL.Image.open(path) as picture:
            picture.load()
            return data + repr(picture.info).encode() + repr(dict(picture.getexif())).encode()
    if path.suffix == ".npz":
        with np.load(path) as arrays:
            return repr({name: arrays[name].tolist() for name in arrays if name != "image"}).encode()
    return data


def test_every_text_on_the_list_stands_in_its_file(folder: Path, plants: list[Plant]) -> None:
    texts = [plant for plant in plants if plant.box is None and plant.place != "file name"]
    assert len(texts) > 60
    for plant in texts:
        found = text_in(folder / plant.file)
        assert plant.value.encode() in found or plant.value.encode("latin-1") in found, plant


def test_file_names_carry_what_the_list_says(plants: list[Plant]) -> None:
    named = [plant for plant in plants if plant.place == "file name"]
    assert len(named) >= 6
    assert all(plant.value in Path(plant.file).name for plant in named)


def test_every_kind_and_every_format_is_there(folder: Path, plants: list[Plant]) -> None:
    assert {plant.kind for plant in plants} == set(KINDS)
    suffixes = {Path(plant.file).suffix for plant in plants}
    assert suffixes >= {".dcm", ".gz", ".png", ".jpg", ".tif", ".hea", ".atr", ".npz", ".json", ".csv", ".txt"}
    places = " ".join(plant.place for plant in plants)
    nested = ("private", "preamble", "[0].", "Overlay", "TextValue", "PDF", "trailing padding")
    chunks = ("pixels", "tEXt", "zTXt", "iTXt", "EXIF", "XMP", "COM", "FNAME", "descrip", "extension")
    for place in (*nested, *chunks):
        assert place in places, place


def pixels_of(path: Path, place: str) -> np.ndarray:
    """(rows, columns) in which a text is drawn."""
    if path.suffix == ".png":
        return np.asarray(PIL.Image.open(path))
    if path.suffix == ".tif":
        return tifffile.imread(path, key=1)
    data = pydicom.dcmread(path)
    if "OverlayData" in place:
        return data.overlay_array(0x6000).astype(int) * 4095
    stored = np.frombuffer(data.PixelData, "<u2" if data.BitsAllocated == 16 else "u1").astype(int)
    stored = stored.reshape(data.Rows, data.Columns)
    return (stored >> 12) * 4095 if "bit 12" in place else stored & 0xFFF


def test_drawn_texts_are_strokes_inside_their_boxes(folder: Path, plants: list[Plant]) -> None:
    drawn = [plant for plant in plants if plant.box is not None]
    assert len(drawn) > 12
    for plant in drawn:
        assert plant.box is not None
        x, y, width, height = plant.box
        part = pixels_of(folder / plant.file, plant.place)[y : y + height, x : x + width].astype(int)
        assert part.shape == (height, width)
        strokes = part == (20 if plant.file.endswith(".tif") else part.max())
        assert part.max() in (235, 255, 4095), plant
        assert 0.1 < strokes.mean() < 0.6, plant


def test_a_bit_above_the_pixels_does_not_change_what_is_seen(folder: Path) -> None:
    seen = read_image(folder / "case-001" / "overlay.dcm").array
    assert seen.max() <= 4095


def test_dicom_files_are_read_by_pydicom_with_nested_and_private_places(folder: Path, plants: list[Plant]) -> None:
    path = next(folder / plant.file for plant in plants if plant.place == "preamble")
    data = pydicom.dcmread(path)
    assert data[0x0009, 0x1004].value[0].PatientID == data.PatientID
    assert data.OriginalAttributesSequence[0].ModifiedAttributesSequence[0].PatientName == data.PatientName
    assert str(data.PatientID).encode() in data.preamble
    report = pydicom.dcmread(folder / "case-001" / "report.dcm")
    assert str(report.ContentSequence[0].PersonName) == str(report.PatientName)


def test_the_person_is_nowhere_in_a_file_that_is_not_on_the_list(folder: Path, plants: list[Plant]) -> None:
    listed = {plant.file for plant in plants}
    others = [p for p in folder.rglob("*") if p.is_file() and p.relative_to(folder).as_posix() not in listed]
    number = next(plant.value for plant in plants if plant.kind == "id" and plant.place == "file name").encode()
    for path in others:
        if path.name not in ("planted.csv", "truth.json"):
            assert number not in text_in(path), path


def elements_with(data: pydicom.Dataset, words: list[str], before: str = "") -> Iterator[str]:
    """Places, as planted.csv writes them, of elements that hold one of the words."""
    for element in data:
        place = f"{before}({element.tag.group:04X},{element.tag.element:04X})"
        if element.VR == "SQ":
            for number, nested in enumerate(element.value):
                yield from elements_with(nested, words, f"{place}[{number}].")
        elif element.keyword != "PixelData":
            value = element.value.decode("latin-1") if isinstance(element.value, bytes) else str(element.value)
            if any(word in value for word in words):
                yield place


def test_every_element_that_holds_something_of_the_person_is_on_the_list(folder: Path, plants: list[Plant]) -> None:
    person = draw_person(np.random.default_rng([30_000, 4]))
    words = [person.family, person.given, person.number, person.birth, person.examined, person.accession]
    words += [person.address, person.phone, person.hospital, person.dashed(person.birth), person.dotted(person.birth)]
    files = sorted((folder / "case-001").glob("*.dcm"))
    assert len(files) == 7
    for path in files:
        data = pydicom.dcmread(path)
        listed = {p.place for p in plants if p.file == path.relative_to(folder).as_posix()}
        for place in [*elements_with(data, words), *elements_with(data.file_meta, words)]:
            assert any(one.startswith(place) for one in listed), (path.name, place)


def test_a_clean_phantom_holds_nothing_of_the_person(tmp_path: Path) -> None:
    chest_ct.write_study(tmp_path / "clean", 30_000, size=(32, 32, 16))
    person = draw_person(np.random.default_rng([30_000, 4]))
    for path in (tmp_path / "clean").iterdir():
        data = path.read_bytes()
        for value in (person.family, person.given, person.number, person.birth, person.phone, person.accession):
            assert value.encode() not in data


def test_people_differ_by_seed_and_not_otherwise() -> None:
    first, again, other = (draw_person(np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert first == again != other
