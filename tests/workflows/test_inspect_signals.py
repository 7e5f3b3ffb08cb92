"""Recordings are looked at: real WFDB and DICOM ones, EDF, and such with known faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import edfio
import numpy as np
import pydicom
import pydicom.data
import pytest

from layout_samples import picture
from osler.datasets.layouts import open_dataset
from osler.datasets.layouts.signals import describe_records, list_records
from osler.errors import DatasetError, OutputExists, Unreadable, Unsuitable, UsageError
from osler.report.signal_page import strip_of
from osler.studies.discovery import find_signals, find_studies
from osler.studies.formats import dicom_waveform, read_image, read_signals, sniff
from osler.studies.study import Signal
from osler.studies.traces import on_ecg_paper
from osler.workflows.import_dataset import import_dataset
from osler.workflows.inspect import SignalInspection, inspect
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds

ECG = Path(pydicom.data.get_testdata_file("waveform_ecg.dcm"))
TWELVE = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")


def edf(path: Path, *leads: np.ndarray, rate: float = 100.0, patient: str = "X") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    signals = [edfio.EdfSignal(lead, rate, label=f"C{n}", physical_dimension="uV") for n, lead in enumerate(leads)]
    edfio.Edf(signals, patient=edfio.Patient(code=patient)).write(path)
    return path


def noise(seed: int, size: int = 2000) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 20, size)


def test_the_real_ecgs_are_shown_with_leads_rates_beats_and_strips(shared, tmp_path):
    found = inspect(shared / "ecg-mitbih", output=tmp_path / "out")
    assert isinstance(found, SignalInspection)
    assert (found.cases, found.patients, found.complete) == (8, 8, True)
    text = "\n".join(found.summary())
    assert "8 signal records (WFDB) of 8 patients, MLII, 360 Hz, 4.0 h in all, 17200 labelled beats" in (
        text.replace("\n", " ")
    )
    assert "106            0:30:06  360 Hz  MLII  N 1507, V 520" in text
    assert "No model reads signals yet" in text
    rows = json.loads((tmp_path / "out/inspect.json").read_text())["records"]
    assert rows[0]["leads"][0]["unit"] == "mV"
    page = (tmp_path / "out/index.html").read_text()
    assert page.count("data:image/png;base64,") == 8
    assert "2,272 N, 1 V" in page
    with pytest.raises(OutputExists, match="exists already"):
        inspect(shared / "ecg-mitbih", output=tmp_path / "out")


def test_the_clipped_record_of_mit_bih_is_the_only_problem(shared):
    (problem,) = inspect(shared / "ecg-mitbih").problems
    # 663 samples at -5.12 mV and 265 at 5.115 mV, the ends of its 11 bits
    assert (problem.code, problem.cases, problem.details) == ("signal-clipped", ("116",), {"116": "0.14 % of MLII"})


def test_a_dicom_ecg_is_read_as_pydicom_reads_it():
    data = pydicom.dcmread(ECG)
    signals = read_signals(ECG)
    assert list(signals) == ["RHYTHM", "MEDIAN BEAT"]
    for place, signal in enumerate(signals.values()):
        assert np.allclose(signal.samples, data.waveform_array(place).T, atol=1e-3)
        assert (signal.rate_hz, signal.unit, signal.leads) == (1000.0, "uV", TWELVE)
    assert sniff(ECG) == "dicom-waveform"
    with pytest.raises(Unsuitable, match="is a signal and no image"):
        read_image(ECG)


def test_einthovens_and_goldbergers_laws_hold_in_the_dicom_ecg():
    leads = dict(zip(TWELVE, read_signals(ECG)["RHYTHM"].samples, strict=True))
    assert np.abs(leads["I"] + leads["III"] - leads["II"]).max() <= 2.5  # two steps of 1.25 uV
    assert np.abs(leads["aVR"] + leads["aVL"] + leads["aVF"]).max() <= 3.75


def test_what_is_noted_in_a_dicom_ecg_is_counted_and_free_text_is_not_repeated(tmp_path):
    assert len(dicom_waveform.read_annotations(ECG)) == 77
    shutil.copy(ECG, tmp_path / "a.dcm")
    found = inspect(tmp_path, output=tmp_path / "out")
    assert sum(found.records[0].notes.values()) == 77
    assert "RITMO" not in (tmp_path / "out/index.html").read_text()
    assert found.records[0].patient.startswith("patient-")


def changed(tmp_path: Path, **values: object) -> Path:
    data = pydicom.dcmread(ECG)
    for keyword, value in values.items():
        holder = data.WaveformSequence[0]
        if keyword.startswith("Channel"):
            holder = holder.ChannelDefinitionSequence[0]
        if isinstance(value, bytes):
            holder.add_new(keyword, "OW", value)
        else:
            setattr(holder, keyword, value)
    data.save_as(tmp_path / "x.dcm")
    return tmp_path / "x.dcm"


def test_padding_and_late_channels_are_nan_and_uncalibrated_channels_have_no_unit(tmp_path):
    stored = np.frombuffer(pydicom.dcmread(ECG).WaveformSequence[0].WaveformData, "<i2").reshape(-1, 12)
    padded = read_signals(changed(tmp_path, WaveformPaddingValue=stored[7, 0].tobytes()))["RHYTHM"].samples
    assert np.array_equal(np.isnan(padded), stored[7, 0] == stored.T)
    late = read_signals(changed(tmp_path, ChannelSampleSkew="3"))["RHYTHM"].samples
    assert np.isnan(late[0, :3]).all()
    assert np.allclose(late[0, 3:], read_signals(ECG)["RHYTHM"].samples[0, :-3])
    signals = read_signals(changed(tmp_path, ChannelSensitivity=None))
    assert signals["RHYTHM, [arb'U] at 1000 Hz"].leads == ("I",)
    assert np.array_equal(signals["RHYTHM, [arb'U] at 1000 Hz"].samples[0], stored[:, 0])


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        ({"WaveformSampleInterpretation": "MB"}, Unsuitable, "of the coding MB with 16 bits"),
        ({"NumberOfWaveformSamples": 20_000}, Unreadable, "is cut off: it has 240000 of 480000 bytes"),
        ({"NumberOfWaveformChannels": 11}, Unreadable, "holds 11 channels and describes 12"),
        ({"SamplingFrequency": "0"}, Unreadable, "gives a rate of 0 Hz"),
        ({"ChannelSampleSkew": "99999"}, Unreadable, "begins 99999 samples late"),
    ],
)
def test_damaged_waveforms_are_refused(values, error, words, tmp_path):
    with pytest.raises(error, match=words):
        read_signals(changed(tmp_path, **values))


def test_faults_of_recordings_are_found(tmp_path):
    for n in range(4):
        edf(tmp_path / f"d/good{n}.edf", noise(n), noise(n + 10))
    edf(tmp_path / "d/flat.edf", noise(5), np.zeros(2000))
    edf(tmp_path / "d/copy.edf", noise(0), noise(10))
    edf(tmp_path / "d/clipped.edf", np.clip(noise(6), -10, 10).repeat(10)[:2000], noise(7))
    edf(tmp_path / "d/fast.edf", noise(8, 4000), noise(9, 4000), rate=200.0)
    (tmp_path / "d/broken.edf").write_bytes(b"0       " + b"x" * 100)
    found = inspect(tmp_path / "d")
    assert not found.complete
    cases = {problem.code: problem.cases for problem in found.problems}
    assert cases == {
        "unreadable": ("broken",),
        "signal-flat": ("flat",),
        "signal-clipped": ("clipped",),
        "copies-within": ("copy", "good0"),
        "signal-unlike": ("fast",),
    }
    details = {problem.code: problem.details for problem in found.problems}
    assert details["signal-flat"] == {"flat": "C1"}
    assert details["signal-unlike"] == {"fast": "at 200 Hz"}


def test_missing_samples_are_told(tmp_path):
    wave = np.full(500, -32768, "<i2")  # WFDB's mark for what was not measured
    wave[:300] = np.arange(300)
    (tmp_path / "a.dat").write_bytes(wave.tobytes())
    (tmp_path / "a.hea").write_text("a 1 250 500\na.dat 16 200/mV\n")
    (problem,) = inspect(tmp_path).problems
    assert (problem.code, problem.details) == ("signal-gaps", {"a": "40 % of channel 1"})


def test_patients_come_from_the_file_the_folder_or_a_pattern(tmp_path):
    edf(tmp_path / "a/p1/r1.edf", noise(1), patient="MCH-0234567")
    edf(tmp_path / "a/p1/r2.edf", noise(2), patient="MCH-0234567")
    edf(tmp_path / "a/p2/r3.edf", noise(3))
    records = list_records(tmp_path / "a")
    assert [record.name for record in records] == ["p1-r1", "p1-r2", "p2-r3"]
    assert records[0].patient == records[1].patient
    assert "MCH" not in repr(records)
    assert records[2].patient == "p2"
    assert inspect(tmp_path / "a", patient="r(.)").patients == 3
    with pytest.raises(UsageError, match="does not match 3 of 3 names"):
        inspect(tmp_path / "a", patient="zzz")


def test_records_in_one_folder_are_patients_of_their_own(tmp_path):
    for n in range(3):
        edf(tmp_path / f"studies/r{n}.edf", noise(n))
    records = list_records(tmp_path)
    assert [(record.name, record.patient) for record in records] == [(f"r{n}", f"r{n}") for n in range(3)]
    assert describe_records(records).startswith("3 signal records (EDF) of 3 patients, C0, 100 Hz, 60 s in all")


def test_segments_of_a_record_are_no_records(tmp_path):
    for n in range(2):
        (tmp_path / f"s{n}.dat").write_bytes(np.arange(100, dtype="<i2").tobytes())
        (tmp_path / f"s{n}.hea").write_text(f"s{n} 1 250 100\ns{n}.dat 16 200/mV 16 0 0 4950 0 II\n")
    (tmp_path / "all.hea").write_text("all/2 1 250 200\ns0 100\ns1 100\n")
    assert [path.name for path in find_signals(tmp_path)] == ["all.hea"]
    (record,) = list_records(tmp_path)
    assert (record.leads, record.rates_hz, record.seconds) == (("II",), (250.0,), 0.8)


def test_signals_answer_a_prediction_in_one_sentence(shared, tmp_path):
    model = make_model(tmp_path / "m", make_plan(), *thresholds(1.0, 2.0))
    with pytest.raises(UsageError, match=r"ecg-mitbih holds 8 signals \(wfdb\) and no images") as caught:
        predict(model, shared / "ecg-mitbih")
    assert "osler inspect shows signals; no model reads them yet" in str(caught.value)
    with pytest.raises(UsageError, match=r"100.hea is a signal \(wfdb\) and no image"):
        predict(model, shared / "ecg-mitbih/100.hea")
    with pytest.raises(UsageError, match=r"the 2 files named are signals \(dicom-waveform, wfdb\) and no images"):
        predict(model, [shared / "ecg-mitbih/100.hea", ECG])


def test_signals_beside_images_are_no_studies(shared, tmp_path):
    picture(tmp_path / "x.png")
    for suffix in (".hea", ".dat"):
        shutil.copy(shared / f"ecg-mitbih/100{suffix}", tmp_path / f"100{suffix}")
    shutil.copy(ECG, tmp_path / "ecg.dcm")
    assert [study.name for study in find_studies([tmp_path])] == ["x"]


def test_signals_are_no_dataset_and_cannot_be_cleaned_or_learnt(tmp_path):
    edf(tmp_path / "d/a.edf", noise(1))
    with pytest.raises(DatasetError, match=r"holds 1 signal record \(EDF\) of 1 patient"):
        open_dataset(tmp_path / "d")
    with pytest.raises(UsageError, match="holds signals, and a cleaned manifest is of images"):
        inspect(tmp_path / "d", fix=tmp_path / "out")
    with pytest.raises(UsageError, match="holds signals, and the task 'classify' is of images"):
        inspect(tmp_path / "d", task="classify")


def test_every_kind_of_signal_is_listed_as_a_table(shared, tmp_path):
    edf(tmp_path / "d/a.edf", noise(1))
    shutil.copy(ECG, tmp_path / "d/b.dcm")
    result = import_dataset(tmp_path / "d", tmp_path / "out.csv")
    assert (result.cases, result.layout) == (2, "signals")
    lines = (tmp_path / "out.csv").read_text().splitlines()
    assert lines[1] == "a,d/a.edf,,a,C0,100,20.000"
    assert ",I II III aVR aVL aVF V1 V2 V3 V4 V5 V6,1000,10.000" in lines[2]


def test_a_small_signal_is_drawn_larger_and_says_so(tmp_path):
    record = list_records(edf(tmp_path / "eeg.edf", noise(1)))[0]
    signals = read_signals(record.path)
    assert strip_of(record, signals)[:8] == b"\x89PNG\r\n\x1a\n"
    quiet = on_ecg_paper(signals["signal"], seconds=5, mm_per_mv=100)
    usual = on_ecg_paper(signals["signal"], seconds=5)
    dark = [int((np.asarray(one.convert("L")) < 60).sum()) for one in (usual, quiet)]
    assert dark[1] > dark[0]
    short = Signal(np.zeros((1, 1), np.float32), 10.0, "mV", ("I",))
    assert strip_of(record, {"signal": short}) == b""
