"""Signals and tables are recognised and said to be what they are; beats are those that other readers find."""

from __future__ import annotations

import struct

import pytest

from osler.datasets.layouts import open_dataset, signals
from osler.datasets.layouts.signals import list_records
from osler.errors import DatasetError, Unreadable
from osler.studies.formats.wfdb import read_annotations


def annotation_file(path, *words: int, tail: bytes = b"\0\0"):
    path.write_bytes(b"".join(struct.pack("<H", word) for word in words) + tail)
    return path


def test_the_real_ecgs_are_listed_with_patients_leads_and_beats(shared):
    records = list_records(shared / "ecg-mitbih")
    assert [r.name for r in records] == ["100", "102", "105", "106", "114", "116", "119", "121"]
    assert {(r.leads, r.rates_hz, round(r.seconds, 2)) for r in records} == {(("MLII",), (360.0,), 1805.56)}
    counts = {r.name: dict(r.annotated.beats) for r in records}
    # Premature ventricular beats by record: https://physionet.org/physiobank/database/html/mitdbdir/tables.htm
    assert {name: counts[name].get("V", 0) for name in ("100", "106", "114", "119", "121")} == {
        "100": 1, "106": 520, "114": 43, "119": 444, "121": 1,
    }  # fmt: skip


def test_the_real_ecgs_are_recognised_and_said_to_have_no_task(shared):
    with pytest.raises(
        DatasetError, match=r"8 signal records \(WFDB\) of 8 patients, MLII, 360 Hz, 4.0 h in all, 17200 "
    ):
        open_dataset(shared / "ecg-mitbih")


def test_annotations_agree_with_the_wfdb_package(shared):
    import wfdb

    for name in ("100", "106", "121"):
        theirs = wfdb.rdann(str(shared / "ecg-mitbih" / name), "atr")
        ours = read_annotations(shared / "ecg-mitbih" / f"{name}.atr")
        assert ours.samples.tolist() == theirs.sample.tolist()
        assert list(ours.symbols) == theirs.symbol


def test_long_distances_texts_and_rhythms_are_read(tmp_path):
    skip, aux, beat, rhythm = 59 << 10, 63 << 10, 1 << 10, 28 << 10
    file = annotation_file(
        tmp_path / "a.atr", skip, 1, 5, rhythm | 0, aux | 5, *struct.unpack("<3H", b"(AFIB\0"), beat | 20, 60 << 10 | 3
    )
    found = read_annotations(file)
    assert (found.samples.tolist(), found.symbols, found.texts) == ([65541, 65561], ("+", "N"), ("(AFIB", ""))
    with pytest.raises(Unreadable, match=r"b.atr is cut off"):
        read_annotations(annotation_file(tmp_path / "b.atr", beat | 20, tail=b"\1"))


def test_records_in_folders_are_of_the_folders_patient_and_201_and_202_of_one(tmp_path):
    for name in ("patient001/s0010", "patient001/s0014", "patient002/s0015"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / f"{name}.hea").write_text(
            f"{name[-5:]} 2 1000 38400\nx.dat 16 2000 16 0 0 0 0 i\nx.dat 16 2000 16 0 0 0 0 ii\n"
        )
    records = list_records(tmp_path)
    assert [r.patient for r in records] == ["patient001", "patient001", "patient002"]
    assert records[0].leads == ("i", "ii")
    for name in ("201", "202"):
        (tmp_path / f"mit/{name}.hea").parent.mkdir(exist_ok=True)
        (tmp_path / f"mit/{name}.hea").write_text(f"{name} 1 360 650000\n{name}.dat 212 200 12 0 0 0 0 MLII\n")
    assert {r.patient for r in list_records(tmp_path / "mit")} == {"201"}


def test_a_damaged_header_is_named(tmp_path):
    (tmp_path / "x.hea").write_text("x 3 360\nx.dat 212\n")
    with pytest.raises(DatasetError, match=r"x.hea announces 3 signals and describes 1"):
        open_dataset(tmp_path)


def test_a_table_of_signals_is_no_set_of_images(tmp_path):
    (tmp_path / "m.csv").write_text("case,signal,patient\n100,100.hea,100\n")
    with pytest.raises(DatasetError, match=r"lists 1 signals and no images"):
        open_dataset(tmp_path / "m.csv")


def test_the_real_heart_disease_tables_are_recognised(shared):
    counted = (
        r"920 patients at 4 hospitals \(cleveland 303, hungarian 294, switzerland 123, va 200\), 509 with a diagnosis"
    )
    with pytest.raises(DatasetError, match=rf"UCI heart disease tables.*{counted}.*statlog \(270\).*and no images"):
        open_dataset(shared / "heart-disease")


def test_other_tables_are_counted_with_what_is_missing(shared, tmp_path):
    with pytest.raises(DatasetError, match=r"holds 3 tables: indications-diseases.tsv \(97 rows, 6 columns"):
        open_dataset(shared / "knowledge")
    (tmp_path / "clinic.csv").write_text("id,age,lvef\n1,40,\n2,50,55\n")
    with pytest.raises(DatasetError, match=r"1 tables: clinic.csv \(2 rows, 3 columns, 17 % missing\), and no images"):
        open_dataset(tmp_path)


def test_the_layout_says_why_it_fits(shared):
    assert signals.sniff(shared / "ecg-mitbih") == "signals (WFDB) such as 100"
