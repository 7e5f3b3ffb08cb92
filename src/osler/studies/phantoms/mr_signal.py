"""How bright a tissue is in an MR: relaxation times and proton densities from a table, and the signal equations.

``TISSUES`` are those of BrainWeb's simulator at 1.5 T, ``tissue_mr_parameters.txt`` of Kwan, Evans and Pike (IEEE
TMI 1999); as BrainWeb does, skin is left to what is around it, and compact bone has no signal. ``CHEST`` are the
"approximate values for nonpathological human tissues" of the article on relaxation (nuclear magnetic resonance) that
liquisearch.com/relaxation_nmr keeps; its tissues count as equally dense in protons but for lung.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

__all__ = ["CHEST", "TISSUES", "Sequence", "Tissue", "balanced", "inversion_recovery", "spin_echo", "spoiled"]


@dataclass(frozen=True)
class Tissue:
    """Relaxation times in ms and the proton density relative to water; ``t2_star`` counts in gradient echoes."""

    t1: float
    t2: float
    t2_star: float
    density: float


Sequence: TypeAlias = Callable[[Tissue], float]

TISSUES = {
    "csf": Tissue(2569, 329, 58, 1.0),
    "grey": Tissue(833, 83, 69, 0.86),
    "white": Tissue(500, 70, 61, 0.77),
    "fat": Tissue(350, 70, 58, 1.0),
    "muscle": Tissue(900, 47, 30, 1.0),
    "bone": Tissue(1, 1, 1, 0.0),
    "lesion": Tissue(752, 237, 204, 0.76),
}
CHEST = {
    "blood": Tissue(1350, 200, 200, 1.0),
    "muscle": Tissue(880, 50, 50, 1.0),
    "liver": Tissue(490, 40, 40, 1.0),
    "fat": Tissue(245, 70, 70, 1.0),
    "lung": Tissue(1000, 40, 2, 0.15),
    "air": Tissue(1, 1, 1, 0.0),
}


def spin_echo(tr: float, te: float) -> Sequence:
    """ρ (1 − e^(−TR/T1)) e^(−TE/T2); times in ms."""
    return lambda tissue: tissue.density * (1 - np.exp(-tr / tissue.t1)) * float(np.exp(-te / tissue.t2))


def inversion_recovery(tr: float, te: float, ti: float | None = None) -> Sequence:
    """ρ |1 − 2 e^(−TI/T1) + e^(−TR/T1)| e^(−TE/T2); times in ms. Without ``ti`` the one that CSF is dark at: FLAIR."""
    csf = TISSUES["csf"].t1
    inversion = csf * float(np.log(2 / (1 + np.exp(-tr / csf)))) if ti is None else ti

    def signal(tissue: Tissue) -> float:
        recovered = 1 - 2 * np.exp(-inversion / tissue.t1) + np.exp(-tr / tissue.t1)
        return float(tissue.density * abs(recovered) * np.exp(-te / tissue.t2))

    return signal


def spoiled(tr: float, te: float, flip: float) -> Sequence:
    """ρ sin α (1 − E1) / (1 − E1 cos α) e^(−TE/T2*), the steady state of a spoiled gradient echo (Ernst's equation);
    times in ms, ``flip`` in degrees."""
    angle = np.deg2rad(flip)

    def signal(tissue: Tissue) -> float:
        left = np.exp(-tr / tissue.t1)
        steady = np.sin(angle) * (1 - left) / (1 - left * np.cos(angle))
        return float(tissue.density * steady * np.exp(-te / tissue.t2_star))

    return signal


def balanced(flip: float) -> Sequence:
    """ρ sin α / (1 + cos α + (1 − cos α) T1/T2): balanced steady-state free precession with TR well below T2;
    ``flip`` in degrees."""
    angle = np.deg2rad(flip)

    def signal(tissue: Tissue) -> float:
        ratio = tissue.t1 / tissue.t2
        return float(tissue.density * np.sin(angle) / (1 + np.cos(angle) + (1 - np.cos(angle)) * ratio))

    return signal
