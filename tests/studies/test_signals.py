"""WFDB and EDF: numbers against wfdb 4.3.1, edfio and cases worked out by hand; and their pictures."""

from __future__ import annotations

import hashlib
from pathlib import Path

import edfio
import numpy as np
import PIL.Image
import pytest

from osler.errors import Unreadable, Unsuitable, UsageError
from osler.studies.formats import edf, read_signals, wfdb
from osler.studies.study import Signal
from osler.studies.traces import on_ecg_paper

# Each record by wfdb 4.3.1: SHA-256 of p_signal as float32, beats, sum of their samples, SHA-256 of their symbols.
MIT_BIH = {
    "100": ("7b50d8cda240a584", 2273, 738342125, "9e65b759d949820e"),
    "102": ("ec286c6a04dc72f1", 2187, 709849833, "82233f291e5fa637"),
    "105": ("1bff2a0aae44fac2", 2572, 848131578, "d85d375abffe393d"),
    "106": ("0e95175d48f9d08a", 2027, 660135685, "118afe51e039a53e"),
    "114": ("f8de96e188330abc", 1879, 642644526, "c87486dd8ebbfbe9"),
    "116": ("a7c032b1cd6ee7bb", 2412, 790992285, "4968521a8064bb20"),
    "119": ("07be2167616c3ec1", 1987, 646002127, "cb9da88cbece4137"),
    "121": ("5ae05370120095ce", 1863, 619766042, "a838d801b5d97144"),
}


@pytest.mark.parametrize("record", MIT_BIH)
def test_mit_bih_is_read_as_wfdb_reads_it(record: str, shared: Path) -> None:
    path = shared / f"ecg-mitbih/{record}.hea"
    signal = read_signals(path)["signal"]
    notes = wfdb.read_annotations(path.with_suffix(".atr"))
    assert (signal.leads, signal.unit, signal.rate_hz, signal.samples.shape) == (("MLII",), "mV", 360.0, (1, 650000))
    digest = hashlib.sha256(signal.samples.tobytes()).hexdigest()[:16]
    beats = hashlib.sha256("".join(notes.symbols).encode()).hexdigest()[:16]
    assert (digest, len(notes.samples), int(notes.samples.sum()), beats) == MIT_BIH[record]
    assert set(notes.symbols) <= {"N", "V"}


def _record(folder: Path, lines: str, **files: bytes) -> Path:
    for name, data in files.items():
        (folder / f"{name}.dat").write_bytes(data)
    (folder / "a.hea").write_text(lines)
    return folder / "a.hea"


# two samples, -3 and 5, in each format, by hand from signal(5)
BYTES = {
    "8": bytes([0xFD, 8]),
    "16": b"\xfd\xff\x05\x00",
    "24": b"\xfd\xff\xff\x05\x00\x00",
    "32": b"\xfd\xff\xff\xff\x05\x00\x00\x00",
    "61": b"\xff\xfd\x00\x05",
    "80": bytes([125, 133]),
    "160": b"\xfd\x7f\x05\x80",
    "212": bytes([0xFD, 0x0F, 0x05]),
    "310": bytes([0xFA, 0x07, 0x0A, 0x00]),
    "311": bytes([0xFD, 0x17, 0x00]),
}


@pytest.mark.parametrize("form", BYTES)
def test_samples_of_every_format(form: str, tmp_path: Path) -> None:
    path = _record(tmp_path, f"a 1 100 2\na.dat {form} 1(0)/mV 12 0 0 2 0 I\n", a=BYTES[form])
    assert read_signals(path)["signal"].samples.tolist() == [[-3.0, 5.0]]
    (tmp_path / "a.dat").write_bytes(BYTES[form][:-1])
    with pytest.raises(Unreadable, match=r"cut off: \d of 2 samples"):
        read_signals(path)


@pytest.mark.parametrize(("form", "invalid"), [("16", b"\x00\x80"), ("80", b"\x00"), ("32", b"\0\0\0\x80")])
def test_what_was_not_measured_is_nan(form: str, invalid: bytes, tmp_path: Path) -> None:
    path = _record(tmp_path, f"a 1 100 1\na.dat {form} 1(0)/mV\n", a=invalid)
    assert np.isnan(read_signals(path)["signal"].samples).all()


def test_a_channel_that_is_not_calibrated_has_no_unit(tmp_path: Path) -> None:
    path = _record(tmp_path, "a 1 100 2\na.dat 16 0 16 0\n", a=b"\x64\0\xc8\0")
    signal = read_signals(path)["signal"]
    assert (signal.unit, signal.samples.tolist(), signal.leads) == ("[arb'U]", [[100, 200]], ("channel 1",))


def test_a_wrong_checksum_is_noticed(tmp_path: Path) -> None:
    path = _record(tmp_path, "a 1 100 2\na.dat 16 200/mV 16 0 0 7 0 I\n", a=b"\x64\0\xc8\0")
    with pytest.raises(Unreadable, match="samples of I do not add up"):
        read_signals(path)


def test_channels_of_other_rates_and_units_are_other_signals(tmp_path: Path) -> None:
    data = np.array([1, 2, 9, 3, 4, 8], "<i2").tobytes()
    path = _record(tmp_path, "a 2 100 2\na.dat 16x2 1/mV 16 0 0 10 0 ECG\na.dat 16 1/mmHg 16 0 0 17 0 ABP\n", a=data)
    signals = read_signals(path)
    assert {name: one.samples.tolist() for name, one in signals.items()} == {
        "mV at 200 Hz": [[1, 2, 3, 4]],
        "mm[Hg] at 100 Hz": [[9, 8]],
    }


def test_segments_are_put_together_and_gaps_are_nan(tmp_path: Path) -> None:
    _record(tmp_path, "", b=b"\x01\0\x02\0", c=b"\x03\0\x04\0")
    for name, lead in (("b", "I"), ("c", "II")):
        total = 3 if name == "b" else 7
        (tmp_path / f"{name}.hea").write_text(f"{name} 1 100 2\n{name}.dat 16 1(0)/mV 16 0 0 {total} 0 {lead}\n")
    (tmp_path / "a.hea").write_text("a/3 2 100 5\nb 2\n~ 1\nc 2\n")
    signal = read_signals(tmp_path / "a.hea")["signal"]
    assert signal.leads == ("I", "II")
    np.testing.assert_array_equal(signal.samples, [[1, 2] + [np.nan] * 3, [np.nan] * 3 + [3, 4]])


@pytest.mark.parametrize(
    ("lines", "reason"),
    [
        ("", "empty"),
        ("a 1 0 2\na.dat 16\n", "a rate of 0 Hz"),
        ("a 2 100 2\na.dat 16\n", "announces 2 signals and describes 1"),
        ("a 1 100 2\n../../b.dat 16\n", "outside its folder"),
        ("a 1 100 2\nb.dat 16\n", "not there"),
        ("a 1 100 2\na.dat 516\n", "in the format '516'"),
        ("a/1 1 100 2\na 2\n", "segment of other segments"),
    ],
)
def test_a_header_that_makes_no_sense_is_refused(lines: str, reason: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=reason):
        read_signals(_record(tmp_path, lines, a=bytes(4)))


def test_an_absurd_length_takes_no_memory(tmp_path: Path) -> None:
    with pytest.raises(Unsuitable, match="99,999,999,999 samples"):
        read_signals(_record(tmp_path, "a 1 100 99999999999\na.dat 16\n", a=bytes(4)))


def test_annotations_with_long_gaps_and_notes(tmp_path: Path) -> None:
    words = [59 << 10, 1, 34464, 28 << 10 | 0, 63 << 10 | 5]  # skip 100,000 samples; "+" with a note of five letters
    data = np.array(words, "<u2").tobytes() + b"(AFIB\0" + np.array([5 << 10 | 300, 0], "<u2").tobytes()
    (tmp_path / "a.atr").write_bytes(data)
    notes = wfdb.read_annotations(tmp_path / "a.atr")
    assert (notes.samples.tolist(), notes.symbols, notes.texts) == ([100_000, 100_300], ("+", "V"), ("(AFIB", ""))
    (tmp_path / "a.atr").write_bytes(data[:-2])
    with pytest.raises(Unreadable, match="no end"):
        wfdb.read_annotations(tmp_path / "a.atr")


def _edf(path: Path, cls: type = edfio.Edf, signal: type = edfio.EdfSignal, **options: object) -> Path:
    generator = np.random.default_rng(0)
    leads = [signal(generator.normal(0, 300, 2500), 250, label=name, physical_dimension="uV") for name in ("C3", "C4")]
    slow = signal(generator.normal(36, 1, 10), 1, label="Temp", physical_dimension="degC")
    cls([*leads, slow], **options).write(path)
    return path


@pytest.mark.parametrize(
    ("suffix", "cls", "signal"),
    [(".edf", edfio.Edf, edfio.EdfSignal), (".bdf", edfio.Bdf, edfio.BdfSignal)],
)
def test_edf_and_bdf_are_read_as_edfio_reads_them(suffix: str, cls: type, signal: type, tmp_path: Path) -> None:
    path = _edf(tmp_path / f"a{suffix}", cls, signal)
    reference = (edfio.read_edf if suffix == ".edf" else edfio.read_bdf)(path)
    signals = read_signals(path)
    assert {name: (one.leads, one.unit) for name, one in signals.items()} == {
        "uV at 250 Hz": (("C3", "C4"), "uV"),
        "Cel at 1 Hz": (("Temp",), "Cel"),
    }
    np.testing.assert_allclose(signals["uV at 250 Hz"].samples[1], reference.signals[1].data, rtol=1e-6, atol=1e-4)
    np.testing.assert_allclose(signals["Cel at 1 Hz"].samples[0], reference.signals[2].data, rtol=1e-6)


def test_notes_are_read_and_names_are_not_shown(tmp_path: Path) -> None:
    path = _edf(
        tmp_path / "a.edf",
        patient=edfio.Patient(code="P7", name="Eva_Beispiel"),
        annotations=[edfio.EdfAnnotation(1.5, 2, "seizure"), edfio.EdfAnnotation(4, None, "eyes open")],
    )
    assert edf.read_annotations(path) == ((1.5, 2.0, "seizure"), (4.0, None, "eyes open"))
    who = edf.read_identifiers(path)
    assert (who.patient_id, who.patient_name) == ("P7", "Eva Beispiel")
    assert "Eva" not in repr(who) + repr(read_signals(path))


def test_a_recording_that_is_cut_off_or_interrupted_is_refused(tmp_path: Path) -> None:
    path = _edf(tmp_path / "a.edf", annotations=[edfio.EdfAnnotation(1, None, "x")])
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(Unreadable, match="announces 10 records, and 9 are there"):
        read_signals(path)
    path.write_bytes(whole.replace(b"EDF+C", b"EDF+D", 1))
    assert len(read_signals(path)) == 2  # says that it may have gaps, and has none
    path.write_bytes(whole.replace(b"EDF+C", b"EDF+D", 1).replace(b"+5\x14\x14", b"+7\x14\x14", 1))
    with pytest.raises(Unsuitable, match="interrupted"):
        read_signals(path)


def test_a_range_without_width_is_refused(tmp_path: Path) -> None:
    path = _edf(tmp_path / "a.edf")
    data = bytearray(path.read_bytes())
    start = 256 + int(data[252:256]) * (16 + 80 + 8 + 8 + 8)
    data[start : start + 8] = b"99999   "  # digital minimum of the first channel
    path.write_bytes(data)
    with pytest.raises(Unreadable, match="its values have no meaning"):
        read_signals(path)


def _signal(unit: str = "mV", seconds: float = 4) -> Signal:
    times = np.arange(round(seconds * 250)) / 250
    return Signal(np.stack([np.sin(times * 6), np.cos(times * 6)]).astype(np.float32), 250.0, unit, ("I", "II"))


def test_a_millivolt_is_ten_millimetres_and_a_second_twenty_five() -> None:
    flat = np.zeros((1, 1000), np.float32)
    flat[0, 500:] = 1
    paper = np.asarray(on_ecg_paper(Signal(flat, 250, "mV", ("I",)), seconds=4, pixels_per_mm=10))
    dark = (paper < 60).all(axis=-1)
    right = dark[:, (30 + 75) * 10]  # at 3 s
    left = dark[:, (30 + 25) * 10]  # at 1 s
    assert np.flatnonzero(left).mean() - np.flatnonzero(right).mean() == pytest.approx(100, abs=2)
    rise = np.flatnonzero(dark.sum(axis=0) > 80)
    assert rise[-1] == pytest.approx((30 + 50) * 10, abs=3)  # at 2 s


def test_microvolts_look_as_millivolts() -> None:
    millivolts, microvolts = _signal(), _signal("uV")
    scaled = Signal(millivolts.samples * 1000, 250.0, microvolts.unit, microvolts.leads)
    np.testing.assert_array_equal(np.asarray(on_ecg_paper(millivolts)), np.asarray(on_ecg_paper(scaled)))


def test_other_units_gaps_and_marks_are_drawn(tmp_path: Path) -> None:
    signal = _signal("mm[Hg]")
    signal.samples[0, 100:200] = np.nan
    paper = on_ecg_paper(signal, seconds=3, marks=[(1.0, "V")], caption="case 7")
    assert isinstance(paper, PIL.Image.Image)
    assert paper.width > paper.height


def test_what_cannot_be_drawn_is_refused() -> None:
    with pytest.raises(UsageError, match=r"nothing of a signal of 4\.0 s"):
        on_ecg_paper(_signal(), start_s=9)
    with pytest.raises(UsageError, match="too large"):
        on_ecg_paper(_signal(), seconds=100_000)
