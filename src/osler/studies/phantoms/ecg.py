"""A twelve-lead ECG that nobody has, from a dynamical model, with known rate, intervals and rhythm.

    phantom = make(seed=7, rhythm="atrial fibrillation")
    write_dataset("demo/ecg", cases=24)          # WFDB records with beat annotations, records.csv, truth.json

The model is that of McSharry, Clifford, Tarassenko and Smith (IEEE Trans Biomed Eng 2003): a point runs around a
circle once per beat, and passing the angles of P, Q, R, S and T pushes and pulls the potential z:

    dz/dt = -Σ a_i Δθ_i exp(-Δθ_i² / 2 b_i²) - (z - z0)

with z0 swaying with the breath. Between two R waves the angular velocity is constant, so each angle is a time, in which
the equation is solved here: steps of 1 ms, exact for a force that is constant within a step. z is a vector, as Sameni
et al. (EURASIP J Adv Signal Process 2007) have it: the dipole in Frank's axes, and the leads are its projections by
Dower's transform (Dower, Machado and Osborne, Clin Cardiol 1980). The term -(z - z0) acts as the high-pass filter of
0.16 Hz that a recorder has.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import Unknown, UsageError
from osler.studies.geometry import Array
from osler.studies.phantoms.ecg_rhythms import RHYTHMS, Beat, Rhythm, beat_of, premature_beat
from osler.studies.phantoms.files import case_seed, csv_text, empty_folder, nothing, put_text, write_truth
from osler.studies.phantoms.wfdb_files import write_record
from osler.studies.study import Signal

__all__ = ["LEADS", "RECORDERS", "EcgPhantom", "Recorder", "leads_of", "make", "write_dataset"]

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
_STEP = 0.001  # s
# Dower's coefficients of x, y, z in I, II and V1 to V6; III and the augmented leads follow by Einthoven and Goldberger.
_LIMBS = np.array([[0.632, -0.235, 0.059], [0.235, 1.066, -0.132]])
_CHEST = np.array(
    [
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)


@dataclass(frozen=True)
class Recorder:
    """An invented recorder: samples per second, steps per mV, noise of muscles (mV), hum of the mains (mV, Hz), how
    far the line wanders with the breath (mV)."""

    manufacturer: str
    model: str
    rate_hz: float
    gain: float
    noise: float
    hum: float
    mains_hz: float
    wander: float


RECORDERS = (
    Recorder("Aster Imaging", "Aster Cardio 12", 500, 1000, 0.008, 0.004, 50, 0.03),
    Recorder("Borea Medical", "Borea Rhythm", 250, 200, 0.015, 0.012, 60, 0.07),
    Recorder("Cirrus", "Cirrus ECG", 1000, 400, 0.01, 0.006, 50, 0.05),
)


@dataclass(frozen=True)
class EcgPhantom:
    """A record and everything that is true of it.

    ``signal`` is (12, time) in mV. ``beats`` are (time of the R wave in s, annotation code). Intervals are those of
    the ordinary beats, in s: ``pr`` is None without P waves; ``rate`` is per minute, by the mean of all RR intervals.
    """

    signal: Signal
    rhythm: Rhythm
    beats: tuple[tuple[float, int], ...]
    rate: float
    pr: float | None
    qrs: float
    qt: float
    recorder: Recorder
    seed: int


def make(
    seed: int,
    *,
    rhythm: str | None = None,
    rate: float | None = None,
    seconds: float = 10.0,
    recorder: int | None = None,
    clean: bool = False,
) -> EcgPhantom:
    """Draw a patient, record them.

    Args:
        seed: the same seed gives the same phantom.
        rhythm: a name on ``RHYTHMS``; None leaves it to chance.
        rate: beats per minute, 30 to 180; None leaves it to chance within the rhythm's range.
        seconds: 2 to 3600.
        recorder: index into ``RECORDERS``; None leaves it to chance.
        clean: without muscles, mains and breath.

    Raises:
        Unknown: for a rhythm that is not on the list.
        UsageError: for a rate or duration outside these limits.
    """
    if rate is not None and not 30 <= rate <= 180:
        raise UsageError(f"a rate is 30 to 180 per minute, not {rate:g}", remedy="choose another")
    if not 2 <= seconds <= 3600:
        raise UsageError(f"a record lasts 2 to 3600 s, not {seconds:g}", remedy="choose another duration")
    rng = np.random.default_rng(seed)
    kind = _rhythm(rng, rhythm)
    machine = RECORDERS[int(rng.integers(len(RECORDERS))) if recorder is None else recorder]
    drawn = float(rng.uniform(*kind.rate))
    mean = 60 / (drawn if rate is None else rate)
    pr = float(rng.uniform(*kind.pr)) if kind.pr else None
    qt = float(rng.uniform(0.385, 0.43)) * mean ** (1 / 3)  # QTc by Fridericia (Acta Med Scand 1920)
    size, turn = float(rng.uniform(0.8, 1.2)), float(rng.uniform(-0.35, 0.25))
    ordinary = beat_of(kind, pr=pr, qt=qt, size=size, turn=turn)
    early = premature_beat(qt=qt, size=size, turn=turn)
    times, premature = _beat_times(rng, kind, mean, seconds)
    beats = [(time, early if first else ordinary) for time, first in zip(times, premature, strict=True)]
    count = round(seconds / _STEP)
    dipole = _dipole(rng, beats, count, kind, 0.0 if clean else machine.wander)
    samples = _recorded(rng, leads_of(dipole), machine, clean)
    seen = tuple((float(time), beat.code) for time, beat in beats if 0 <= time < seconds)
    signal = Signal(samples, machine.rate_hz, "mV", LEADS)
    return EcgPhantom(signal, kind, seen, 60 / mean, pr, ordinary.qrs, ordinary.qt, machine, seed)


def _rhythm(rng: np.random.Generator, name: str | None) -> Rhythm:
    by_chance = RHYTHMS[int(rng.integers(len(RHYTHMS)))]
    if name is None:
        return by_chance
    found = next((kind for kind in RHYTHMS if kind.name == name), None)
    if found is None:
        raise Unknown(f"there is no rhythm {name!r}", remedy=f"use one of {', '.join(k.name for k in RHYTHMS)}")
    return found


def _beat_times(rng: np.random.Generator, kind: Rhythm, mean: float, seconds: float) -> tuple[Array, Array]:
    """R waves (s) from before the first sample to after the last, and which of them are premature (bool).

    Sinus rhythm follows the breath and blood pressure's slow wave; RR intervals add up to their mean exactly. A
    premature beat comes after 0.62 of an interval, and the next one after 1.38.
    """
    count = int(seconds / mean) + 4
    start = float(rng.uniform(0.15, 0.85)) * mean - 2 * mean
    middles = start + mean * np.arange(count)
    change = rng.normal(0, kind.irregular, count)
    if kind.pr is not None:
        breath, slow = rng.uniform(0, 2 * np.pi, 2)
        change += 0.022 * np.sin(2 * np.pi * 0.25 * middles + breath) + 0.015 * np.sin(2 * np.pi * 0.1 * middles + slow)
    intervals = mean * np.clip(1 + change, 0.5, 1.8)
    intervals *= mean / intervals.mean()
    premature = np.zeros(count + 1, bool)
    for n in range(2, count - 1):
        premature[n] = bool(rng.random() < kind.premature) and not premature[n - 1]
    if kind.premature and not premature[3:-2].any():
        premature[4] = True
        premature[3] = premature[5] = False
    for n in np.flatnonzero(premature).tolist():
        both = intervals[n - 1] + intervals[n]
        intervals[n - 1], intervals[n] = 0.31 * both, 0.69 * both
    return start + np.concatenate([[0.0], np.cumsum(intervals)]), premature


def _dipole(
    rng: np.random.Generator, beats: list[tuple[float, Beat]], count: int, kind: Rhythm, wander: float
) -> Array:
    """The dipole (3, time) in mV in steps of 1 ms, after some seconds that are thrown away."""
    from scipy.signal import lfilter

    before = round(3 / _STEP)
    time = (np.arange(count + before) - before) * _STEP
    force = np.zeros((3, len(time)))
    for at, beat in beats:
        for wave in beat.waves:
            low, high = np.searchsorted(time, (at + wave.top - 5 * wave.width, at + wave.top + 5 * wave.width))
            apart = time[low:high] + _STEP / 2 - (at + wave.top)  # the force in the middle of the step
            pull = -apart / wave.width**2 * np.exp(-0.5 * (apart / wave.width) ** 2)
            force[:, low:high] += np.outer(wave.vector, pull)
    breath = np.sin(2 * np.pi * 0.25 * time + rng.uniform(0, 2 * np.pi))
    force += np.outer(rng.normal(0, 1, 3) * wander, breath)
    decay = np.exp(-_STEP)
    moved: Array = lfilter([0.0, 1 - decay], [1.0, -decay], force, axis=1)
    return moved[:, before:] + (_fibrillation(rng, time[before:]) if kind.pr is None else 0.0)


def _fibrillation(rng: np.random.Generator, time: Array) -> Array:
    """Waves of the atria (3, time), mV: 5 to 7 a second, saw-toothed, of changing size, largest towards V1."""
    pace = rng.uniform(5, 7)
    drift = np.cumsum(rng.normal(0, 0.02, len(time))) * np.sqrt(_STEP) * 30
    phase = 2 * np.pi * pace * time + drift + rng.uniform(0, 6.3)
    height = 0.08 * (1 + 0.4 * np.sin(2 * np.pi * 0.7 * time + rng.uniform(0, 6.3)))
    saw = sum(np.sin(n * phase) / n for n in (1, 2, 3))
    return np.outer((0.15, 0.45, -0.75), height * saw)


def leads_of(dipole: Array) -> Array:
    """The twelve leads (12, time) of a dipole (3, time) in Frank's axes."""
    first, second = _LIMBS @ dipole
    limbs = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.vstack([*limbs, _CHEST @ dipole])


def _recorded(rng: np.random.Generator, leads: Array, machine: Recorder, clean: bool) -> Array:
    """What the recorder stores: its samples per second, noise in each electrode."""
    every = round(1 / _STEP / machine.rate_hz)
    samples = leads[:, ::every]
    if clean:
        return samples
    time = np.arange(samples.shape[1]) / machine.rate_hz
    right, left, foot, *chest = rng.normal(0, machine.noise, (9, samples.shape[1])) + machine.hum * np.sin(
        2 * np.pi * machine.mains_hz * time + rng.uniform(0, 6.3, (9, 1)) * 0.3
    ) * rng.uniform(0.2, 1, (9, 1))
    first, second, centre = left - right, foot - right, (right + left + foot) / 3
    limbs = [first, second, second - first, -(first + second) / 2, first - second / 2, second - first / 2]
    return np.asarray(samples + np.vstack([*limbs, *(one - centre for one in chest)]))


def write_dataset(
    folder: str | Path, *, cases: int = 24, seed: int = 0, seconds: float = 10.0, each: Callable[[], object] = nothing
) -> None:
    """Write ``studies/<name>.hea``, ``.dat`` and ``.atr``, ``RECORDS``, ``records.csv`` and ``truth.json``.

    The rhythms take turns. ``records.csv`` has the columns record, label, patient, recorder and rate_per_min.

    ``each`` is called after each case.

    Raises:
        OutputExists: when the folder holds something.
        StorageError: when it cannot be written.
    """
    folder = empty_folder(folder)
    rows, truth = [], {}
    for n in range(cases):
        own = case_seed(seed, n)
        phantom = make(own, rhythm=RHYTHMS[n % len(RHYTHMS)].name, seconds=seconds)
        name = f"ecg-{n + 1:03d}"
        beats = [(round(time * phantom.signal.rate_hz), code) for time, code in phantom.beats]
        gain, aux = phantom.recorder.gain, phantom.rhythm.aux
        write_record(phantom.signal, folder / "studies", name, gain=gain, beats=beats, rhythm=aux)
        rows.append(
            {
                "record": f"studies/{name}",
                "label": phantom.rhythm.name,
                "patient": f"PHANTOM-{own + 1:04d}",
                "recorder": phantom.recorder.model,
                "rate_per_min": f"{phantom.rate:.1f}",
            }
        )
        truth[name] = _truth(phantom)
        each()
    put_text(folder / "RECORDS", "".join(f"{row['record']}\n" for row in rows))
    put_text(folder / "records.csv", csv_text(rows))
    write_truth(folder, "ecg", seed, truth)


def _truth(phantom: EcgPhantom) -> dict[str, Any]:
    return {
        "seed": phantom.seed,
        "rhythm": phantom.rhythm.name,
        "rate_per_min": phantom.rate,
        "pr_ms": None if phantom.pr is None else phantom.pr * 1000,
        "qrs_ms": phantom.qrs * 1000,
        "qt_ms": phantom.qt * 1000,
        "r_waves_s": [time for time, _ in phantom.beats],
        "premature": [n for n, (_, code) in enumerate(phantom.beats) if code == 5],
    }
