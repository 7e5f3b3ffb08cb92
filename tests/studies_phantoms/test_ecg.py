"""The record has the rate, intervals and rhythm that its truth says, and leads that obey Einthoven."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy.signal import find_peaks

from osler.errors import Unknown, UsageError
from osler.studies.phantoms.ecg import LEADS, EcgPhantom, leads_of, make, write_dataset
from osler.studies.phantoms.ecg_rhythms import RHYTHMS
from osler.studies.phantoms.wfdb_files import annotation_bytes, write_record
from osler.studies.study import Signal


def lead(phantom: EcgPhantom, name: str) -> np.ndarray:
    return phantom.signal.samples[LEADS.index(name)]


def r_waves(phantom: EcgPhantom) -> np.ndarray:
    """R waves found in the signal, s."""
    total = np.abs(np.gradient(phantom.signal.samples, axis=1)).sum(axis=0)
    spread = int(0.06 * phantom.signal.rate_hz)
    smooth = np.convolve(total, np.ones(spread) / spread, "same")
    found, _ = find_peaks(smooth, height=0.35 * smooth.max(), distance=int(0.25 * phantom.signal.rate_hz))
    return found / phantom.signal.rate_hz


@pytest.mark.parametrize("rate", [40, 75, 130])
def test_r_waves_follow_at_the_rate_that_was_asked_for(rate: float) -> None:
    phantom = make(4, rhythm="sinus rhythm", rate=rate, seconds=60, clean=True, recorder=0)
    found = r_waves(phantom)
    assert len(found) == len(phantom.beats)
    assert np.abs(found - [time for time, _ in phantom.beats]).max() < 0.03
    assert 60 / np.diff(found).mean() == pytest.approx(rate, rel=0.01)


def test_pr_qrs_and_qt_can_be_measured_where_they_are_said_to_be() -> None:
    phantom = make(4, rhythm="sinus rhythm", rate=60, clean=True, recorder=2)
    signals = phantom.signal.samples - np.median(phantom.signal.samples, axis=1, keepdims=True)
    size = np.abs(signals).max(axis=0)
    rate = phantom.signal.rate_hz
    time, _ = phantom.beats[3]
    at = round(time * rate)
    onset = at - np.flatnonzero(size[at - int(0.08 * rate) : at][::-1] < 0.06 * size[at])[0]
    waves = {}
    for name, low, high in (("P", -0.3, -0.06), ("T", 0.12, 0.5)):
        part = size[at + int(low * rate) : at + int(high * rate)]
        above = np.flatnonzero(part > 0.06 * part.max()) + at + int(low * rate)
        waves[name] = (above[0] / rate, above[-1] / rate)
    assert phantom.pr is not None
    assert onset / rate - waves["P"][0] == pytest.approx(phantom.pr, abs=0.02)
    assert waves["T"][1] - onset / rate == pytest.approx(phantom.qt, abs=0.03)
    assert phantom.qrs == pytest.approx(0.092, abs=0.005)


def test_limb_leads_obey_einthoven_and_goldberger_exactly() -> None:
    leads = dict(zip(LEADS, leads_of(np.random.default_rng(0).normal(size=(3, 50))), strict=True))
    assert np.allclose(leads["I"] + leads["III"], leads["II"])
    assert np.allclose(leads["aVR"] + leads["aVL"] + leads["aVF"], 0)
    noisy = make(1, rhythm="sinus rhythm")
    assert np.allclose(lead(noisy, "I") + lead(noisy, "III"), lead(noisy, "II"))


def test_r_grows_from_v1_to_v4_and_s_shrinks_from_v2_to_v6() -> None:
    phantom = make(4, rhythm="sinus rhythm", clean=True)
    tall = [lead(phantom, f"V{n}").max() for n in (1, 2, 3, 4)]
    deep = [lead(phantom, f"V{n}").min() for n in (2, 4, 5, 6)]
    assert tall[0] < tall[-1]
    assert deep == sorted(deep)
    assert lead(phantom, "aVR").min() < -0.4


def test_fibrillation_is_irregular_and_has_no_p() -> None:
    fibrillation = make(2, rhythm="atrial fibrillation", seconds=60)
    sinus = make(2, rhythm="sinus rhythm", seconds=60)
    spread = [np.std(np.diff([t for t, _ in p.beats])) / (60 / p.rate) for p in (fibrillation, sinus)]
    assert spread[0] > 0.12 > 0.05 > spread[1]
    assert fibrillation.pr is None


def test_premature_beats_are_early_broad_and_followed_by_a_pause() -> None:
    phantom = make(6, rhythm="premature ventricular beats", seconds=60)
    times, codes = np.array(phantom.beats).T
    early = np.flatnonzero(codes == 5)
    early = early[(early > 0) & (early < len(times) - 1)]
    assert len(early) > 3
    before, after = times[early] - times[early - 1], times[early + 1] - times[early]
    assert (before / (before + after)).max() < 0.4


def test_bundle_branch_blocks_are_broad_and_point_their_way() -> None:
    normal, left, right = (
        make(4, rhythm=name, clean=True)
        for name in ("sinus rhythm", "left bundle branch block", "right bundle branch block")
    )
    assert normal.qrs < 0.1
    assert min(left.qrs, right.qrs) > 0.12
    assert lead(left, "V1").min() < -0.5 > -lead(left, "V6").max()
    assert lead(right, "V1").max() > 0.5
    assert [code for _, code in left.beats] == [2] * len(left.beats)


def test_inferior_elevation_is_seen_in_iii_and_mirrored_in_avl() -> None:
    phantom = make(4, rhythm="inferior ST elevation", clean=True, recorder=0)
    samples = [round((time + 0.12) * phantom.signal.rate_hz) for time, _ in phantom.beats[:-1]]
    base = [round((time - 0.06) * phantom.signal.rate_hz) for time, _ in phantom.beats[:-1]]
    for name, sign in (("III", 1), ("aVF", 1), ("aVL", -1)):
        values = lead(phantom, name)
        assert sign * (values[samples] - values[base]).mean() > 0.08


def test_every_rhythm_keeps_to_its_rate() -> None:
    for rhythm in RHYTHMS:
        phantom = make(3, rhythm=rhythm.name)
        assert rhythm.rate[0] <= phantom.rate <= rhythm.rate[1]


def decode(data: bytes) -> list[tuple[int, int]]:
    """(sample, code) by annot(5), read word by word."""
    words = np.frombuffer(data, "<u2").tolist()
    time, found, at = 0, [], 0
    while words[at]:
        code, step = words[at] >> 10, words[at] & 1023
        at += 1
        if code == 59:
            time += words[at] << 16 | words[at + 1]
            at += 2
        elif code == 63:
            at += (step + 1) // 2
        else:
            time += step
            found.append((time, code))
    return found


def test_annotations_follow_the_format_over_short_and_long_gaps() -> None:
    beats = [(5, 1), (1028, 5), (2052, 1), (100_000, 2)]
    assert decode(annotation_bytes(beats)) == beats
    assert decode(annotation_bytes(beats, "(AFIB")) == [(0, 28), *beats]
    assert b"(AFIB" in annotation_bytes(beats, "(AFIB")


def test_a_record_holds_its_samples_and_checksums(tmp_path: Path) -> None:
    phantom = make(4, seconds=4, recorder=1)
    write_record(phantom.signal, tmp_path, "one", gain=200, comments=["a note"])
    lines = (tmp_path / "one.hea").read_text().splitlines()
    assert lines[0] == "one 12 250 1000"
    assert lines[-1] == "# a note"
    stored = np.frombuffer((tmp_path / "one.dat").read_bytes(), "<i2").reshape(1000, 12)
    assert np.abs(stored.T / 200 - phantom.signal.samples).max() <= 0.5 / 200 + 1e-9
    for number, line in enumerate(lines[1:13]):
        name, form, gain, _, _, first, checksum, _, label = line.split(" ")
        assert (name, form, gain, label) == ("one.dat", "16", "200(0)/mV", LEADS[number])
        assert int(first) == stored[0, number]
        assert (int(stored[:, number].astype(int).sum()) - int(checksum)) % 65536 == 0


def test_wfdb_itself_reads_the_record(tmp_path: Path) -> None:
    import wfdb

    phantom = make(4, rhythm="sinus bradycardia", recorder=2)
    beats = [(round(time * 1000), code) for time, code in phantom.beats]
    write_record(phantom.signal, tmp_path, "one", gain=400, beats=beats, rhythm="(SBR")
    record, notes = wfdb.rdrecord(str(tmp_path / "one")), wfdb.rdann(str(tmp_path / "one"), "atr")
    assert np.abs(record.p_signal.T - phantom.signal.samples).max() < 0.6 / 400
    assert notes.sample.tolist() == [0, *(sample for sample, _ in beats)]
    assert notes.aux_note[0] == "(SBR"


def test_the_folder_lists_its_records(tmp_path: Path) -> None:
    write_dataset(tmp_path, cases=9, seed=1, seconds=3)
    records = (tmp_path / "RECORDS").read_text().split()
    assert len(records) == 9
    assert all((tmp_path / f"{record}{suffix}").is_file() for record in records for suffix in (".hea", ".dat", ".atr"))
    assert all(rhythm.name in (tmp_path / "records.csv").read_text() for rhythm in RHYTHMS)


def test_limits_are_kept(tmp_path: Path) -> None:
    with pytest.raises(Unknown, match="no rhythm 'waltz'"):
        make(0, rhythm="waltz")
    with pytest.raises(UsageError, match="30 to 180 per minute, not 300"):
        make(0, rate=300)
    with pytest.raises(UsageError, match="2 to 3600 s, not 1"):
        make(0, seconds=1)
    with pytest.raises(UsageError, match="does not fit into 16 bits"):
        write_record(Signal(np.full((1, 4), 90.0), 100, "mV", ("I",)), tmp_path, "x")
