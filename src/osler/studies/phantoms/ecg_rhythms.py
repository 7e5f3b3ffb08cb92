"""Rhythms and conduction faults of the ECG phantom: how fast, how regular, and which waves a beat is made of.

A wave is a Gaussian bump of the heart's electric dipole. Its vector is in mV in Frank's axes: x to the patient's left,
y to the feet, z to the back. A wave begins and ends ``EDGE`` standard deviations from its top, where 4 % of it are
left: PR, QRS and QT intervals are meant from edge to edge.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

__all__ = ["EDGE", "RHYTHMS", "Beat", "Rhythm", "Wave", "beat_of", "premature_beat"]

EDGE = 2.5


@dataclass(frozen=True)
class Wave:
    """A bump: ``top`` in s after the R wave, ``width`` its standard deviation in s, ``vector`` in mV at its top."""

    name: str
    top: float
    width: float
    vector: tuple[float, float, float]

    @property
    def onset(self) -> float:
        """s after the R wave."""
        return self.top - EDGE * self.width

    @property
    def end(self) -> float:
        """s after the R wave."""
        return self.top + EDGE * self.width


@dataclass(frozen=True)
class Beat:
    """The waves of a beat, and its code in WFDB annotations: 1 normal, 2 left and 3 right bundle branch block,
    5 premature ventricular."""

    waves: tuple[Wave, ...]
    code: int = 1

    def _named(self, letters: str) -> list[Wave]:
        return [wave for wave in self.waves if wave.name in letters]

    @property
    def qrs_onset(self) -> float:
        """s after the R wave."""
        return min(wave.onset for wave in self._named("QRS"))

    @property
    def qrs(self) -> float:
        """The duration of the QRS complex, s."""
        return max(wave.end for wave in self._named("QRS")) - self.qrs_onset

    @property
    def qt(self) -> float:
        """From the onset of QRS to the end of T, s."""
        return max(wave.end for wave in self._named("T")) - self.qrs_onset

    @property
    def pr(self) -> float | None:
        """From the onset of P to that of QRS, s; None without a P wave."""
        waves = self._named("P")
        return self.qrs_onset - min(wave.onset for wave in waves) if waves else None


@dataclass(frozen=True)
class Rhythm:
    """A class: the ranges that its rate (per minute) and PR interval (s) are drawn from, how irregular it is (the
    standard deviation of RR as a share of its mean, beat to beat), what its ventricles do, how often a beat is
    premature. ``aux`` is what WFDB calls it."""

    name: str
    rate: tuple[float, float]
    pr: tuple[float, float] | None = (0.13, 0.19)
    irregular: float = 0.004
    ventricles: str = "normal"
    premature: float = 0.0
    aux: str = "(N"


RHYTHMS = (
    Rhythm("sinus rhythm", (60, 95)),
    Rhythm("sinus bradycardia", (38, 52), aux="(SBR"),
    Rhythm("sinus tachycardia", (108, 140), (0.12, 0.15), aux="(SVTA"),
    Rhythm("atrial fibrillation", (70, 130), None, irregular=0.2, aux="(AFIB"),
    Rhythm("premature ventricular beats", (60, 85), premature=0.25),
    Rhythm("first-degree AV block", (55, 80), (0.23, 0.3)),
    Rhythm("left bundle branch block", (60, 90), ventricles="left"),
    Rhythm("right bundle branch block", (60, 90), ventricles="right"),
    Rhythm("inferior ST elevation", (60, 95), ventricles="inferior"),
)

_P = Wave("P", 0, 0.022, (0.10, 0.14, -0.05))
_NORMAL = (
    Wave("Q", -0.022, 0.008, (-0.15, 0.0, -0.25)),
    Wave("R", 0.0, 0.011, (1.05, 0.85, 0.35)),
    Wave("S", 0.025, 0.010, (-0.25, -0.1, 0.75)),
)
_NORMAL_T = (0.25, 0.18, -0.20)
_VENTRICLES = {
    "normal": (_NORMAL, _NORMAL_T),
    "left": (
        (
            Wave("Q", -0.024, 0.014, (0.25, 0.25, 0.1)),
            Wave("R", 0.0, 0.018, (0.75, 0.3, 0.85)),
            Wave("S", 0.048, 0.017, (0.8, 0.1, 0.75)),
        ),
        (-0.32, -0.06, -0.4),
    ),
    "right": ((*_NORMAL, Wave("S", 0.066, 0.016, (-0.6, -0.1, -0.72))), (0.3, 0.18, 0.12)),
    "inferior": (
        (
            Wave("Q", -0.022, 0.010, (-0.1, -0.35, -0.25)),
            *_NORMAL[1:],
        ),
        (0.12, 0.3, -0.1),
    ),
}
_ST_INFERIOR = Wave("J", 0.14, 0.05, (-0.08, 0.3, 0.08))
_PREMATURE = (Wave("R", 0.0, 0.026, (0.5, 1.25, 0.95)), Wave("S", 0.052, 0.018, (0.5, 0.3, 0.6)))
_PREMATURE_T = (-0.4, -0.55, -0.5)


def beat_of(rhythm: Rhythm, *, pr: float | None, qt: float, size: float, turn: float) -> Beat:
    """The beat of a rhythm in a patient.

    Args:
        rhythm: on ``RHYTHMS``.
        pr: s; None without a P wave.
        qt: s; lengthened by as much as a slow ventricle's QRS is longer than a normal one.
        size: how large the waves are, 1 is average.
        turn: of the dipole in the frontal plane, radians; the electrical axis.
    """
    waves, t_vector = _VENTRICLES[rhythm.ventricles]
    onset = min(wave.onset for wave in waves)
    longer = Beat(waves).qrs - Beat(_NORMAL).qrs
    found = [*waves, *_t_waves(onset + qt + longer, t_vector)]
    if rhythm.ventricles == "inferior":
        found.append(_ST_INFERIOR)
    if pr is not None:
        found.insert(0, replace(_P, top=onset - pr + EDGE * _P.width))
    code = {"left": 2, "right": 3}.get(rhythm.ventricles, 1)
    return Beat(tuple(_turned(wave, size, turn) for wave in found), code)


def premature_beat(*, qt: float, size: float, turn: float) -> Beat:
    """A beat that begins in a ventricle: broad, no P, T against QRS."""
    onset = min(wave.onset for wave in _PREMATURE)
    longer = Beat(_PREMATURE).qrs - Beat(_NORMAL).qrs
    waves = (*_PREMATURE, *_t_waves(onset + qt + longer, _PREMATURE_T))
    return Beat(tuple(_turned(wave, size, turn) for wave in waves), 5)


def _t_waves(end: float, vector: tuple[float, float, float]) -> tuple[Wave, Wave]:
    """A T wave that rises slowly and falls fast, as two bumps; ``end`` in s after the R wave."""
    x, y, z = vector
    late = Wave("T", end - EDGE * 0.03, 0.03, (x * 0.55, y * 0.55, z * 0.55))
    return Wave("T", late.top - 0.035, 0.046, (x * 0.6, y * 0.6, z * 0.6)), late


def _turned(wave: Wave, size: float, turn: float) -> Wave:
    x, y, z = wave.vector
    left, down = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    return replace(wave, vector=(float(size * left), float(size * down), size * z))
