"""What goes wrong while an image is made: too few photons, a patient who moves, an uneven coil, noise.

Each is simulated where it happens. Photons are counted in projections, and their noise is carried into the CT slice
by filtered back-projection. A patient who moves during an MR is in several places for several lines of k-space; in a
CT, for several angles. Everything is a pure function of its arguments and a random generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from osler.errors import UsageError
from osler.studies.geometry import Array

__all__ = [
    "NO_FAULTS",
    "WATER",
    "Faults",
    "ParallelScanner",
    "bias_field",
    "ct_low_dose",
    "ct_motion",
    "mr_motion",
    "rician",
]

WATER = 0.0193
"""mm⁻¹: attenuation of water (1 g/cm³) at 70 keV.

NIST's XCOM gives 0.1929 cm²/g at 70 keV; NIST's table of X-ray mass attenuation coefficients, which has no line for it,
0.2059 at 60 keV and 0.1837 at 80 keV (https://physics.nist.gov/PhysRefData/XrayMassCoef/ComTab/water.html; both were
read in copies within public source code, as that page itself could not be opened). The package xraydb, which computes
after Elam et al., gives 0.1929 too.
"""
_PHOTONS = 40_000.0  # counted per detector element and angle at full dose; a round number of a diagnostic CT's order


@dataclass(frozen=True)
class Faults:
    """How badly an image is taken.

    Args:
        dose: photons as a share of full dose, above 0 to 1.
        motion: how far the patient moves, mm.
        bias: the range of the coil's sensitivity over the image, as a share of its mean: 0.4 is 0.8 to 1.2.

    Raises:
        UsageError: for a dose that is not above 0 and at most 1, a negative motion, a bias outside 0 to 1.
    """

    dose: float = 1.0
    motion: float = 0.0
    bias: float = 0.0

    def __post_init__(self) -> None:
        if not 0 < self.dose <= 1:
            raise UsageError(
                f"the dose is a share above 0 and at most 1, not {self.dose:g}", remedy="0.25 is a quarter"
            )
        if not 0 <= self.motion <= 50:
            raise UsageError(f"the motion is 0 to 50 mm, not {self.motion:g}", remedy="5 is much")
        if not 0 <= self.bias <= 1:
            raise UsageError(f"the bias is 0 to 1, not {self.bias:g}", remedy="0.4 is much")


NO_FAULTS = Faults()


class ParallelScanner:
    """Parallel projections of slices and their filtered back-projection, as one sparse matrix for one grid.

    Args:
        shape: (I, J) of a slice.
        spacing: mm, the same along I and J.
        angles: how many over half a turn.
    """

    def __init__(self, shape: tuple[int, int], spacing: float, angles: int) -> None:
        from scipy.sparse import csr_matrix

        self.shape, self.spacing, self.angles = shape, spacing, angles
        self.detectors = int(np.ceil(np.hypot(*shape))) + 3
        x, y = (np.arange(n) - (n - 1) / 2 for n in shape)
        pixels = np.arange(shape[0] * shape[1])
        rows, columns, weights = [], [], []
        for number, angle in enumerate(np.arange(angles) * np.pi / angles):
            where = (x[:, None] * np.cos(angle) + y[None] * np.sin(angle)).ravel() + (self.detectors - 1) / 2
            low = np.floor(where).astype(int)
            for detector, share in ((low, 1 - (where - low)), (low + 1, where - low)):
                rows.append(number * self.detectors + detector)
                columns.append(pixels)
                weights.append(share)
        size = (angles * self.detectors, len(pixels))
        entries = (np.concatenate(weights), (np.concatenate(rows), np.concatenate(columns)))
        self._matrix: Any = csr_matrix(entries, shape=size)

    def project(self, slices: Array) -> Array:
        """Line integrals (angles, detectors, K) of values per mm (I, J, K)."""
        flat = self._matrix @ np.reshape(slices, (-1, slices.shape[-1]))
        return np.asarray(flat * self.spacing).reshape(self.angles, self.detectors, -1)

    def reconstruct(self, projections: Array) -> Array:
        """Values per mm (I, J, K) of line integrals (angles, detectors, K): the ramp filter of Ramachandran and
        Lakshminarayanan (PNAS 1971) with a Hann window, then back-projection."""
        length = 2 * self.detectors
        distance = np.fft.fftfreq(length, 1 / length).round().astype(int)
        kernel = np.zeros(length)
        odd = distance % 2 == 1
        kernel[odd] = -1 / (np.pi * distance[odd]) ** 2
        kernel[0] = 0.25
        window = 0.5 + 0.5 * np.cos(2 * np.pi * np.fft.rfftfreq(length))
        spectrum = np.fft.rfft(kernel) * window / self.spacing
        filtered = np.fft.irfft(np.fft.rfft(projections, length, axis=1) * spectrum[None, :, None], length, axis=1)
        flat = self._matrix.T @ filtered[:, : self.detectors].reshape(-1, projections.shape[-1])
        return np.asarray(flat * (np.pi / self.angles)).reshape(*self.shape, -1)


def ct_low_dose(rng: np.random.Generator, hu: Array, spacing: Sequence[float], dose: float) -> Array:
    """Add the noise that a share ``dose`` of the photons has beyond that of full dose, streaks included.

    The photons of each line are drawn from a Poisson distribution around Beer-Lambert's expectation; what this changes
    in the line integrals is reconstructed and added. The beam is parallel, of one energy, without scatter and without
    a bow-tie filter.

    Args:
        rng: what the photons are drawn from.
        hu: (I, J, K) in HU, as it would be at full dose.
        spacing: mm along I, J and K; I and J must be equal.
        dose: above 0 to 1.

    Returns:
        HU (I, J, K), float64.
    """
    if dose >= 1:
        return np.asarray(hu, float)
    scanner = ParallelScanner((hu.shape[0], hu.shape[1]), float(spacing[0]), max(90, hu.shape[0]))
    lines = scanner.project(np.maximum(WATER * (1 + np.asarray(hu, float) / 1000), 0))
    # Full dose is in the image already: the rest has the variance of 1/dose − 1 times full dose.
    expected = _PHOTONS * np.exp(-lines) / (1 / dose - 1)
    counted = np.maximum(rng.poisson(expected), 0.5)  # not one photon: the line is taken as half a count
    change = np.log(np.maximum(expected, 0.5)) - np.log(counted)
    return np.asarray(hu + scanner.reconstruct(change) / WATER * 1000)


def ct_motion(rng: np.random.Generator, hu: Array, spacing: Sequence[float], motion: float) -> Array:
    """A patient who breathes during the turn: each angle sees them up to ``motion`` mm higher or further forward.

    What the moved positions change in the line integrals is reconstructed and added.

    Args:
        rng: draws the breathing's phase.
        hu: (I, J, K) in HU.
        spacing: mm along I, J and K; I and J must be equal.
        motion: mm between the ends of the breath, along K, and half of it along J.

    Returns:
        HU (I, J, K), float64.
    """
    from scipy.ndimage import shift

    if motion == 0:
        return np.asarray(hu, float)
    scanner = ParallelScanner((hu.shape[0], hu.shape[1]), float(spacing[0]), max(90, hu.shape[0]))
    attenuation = np.maximum(WATER * (1 + np.asarray(hu, float) / 1000), 0)
    phase = rng.uniform(0, 2 * np.pi)
    breath = 0.5 + 0.5 * np.sin(phase + np.linspace(0, 1.5 * np.pi, scanner.angles))
    positions = np.rint(breath * 6).astype(int)  # seven places are enough
    still = scanner.project(attenuation)
    seen = still.copy()
    for position in np.unique(positions):
        way = motion * position / 6
        moved = shift(attenuation, (0, -way / 2 / spacing[1], way / spacing[2]), order=1, mode="nearest")
        seen[positions == position] = scanner.project(moved)[positions == position]
    return np.asarray(hu + scanner.reconstruct(seen - still) / WATER * 1000)


def mr_motion(rng: np.random.Generator, image: Array, spacing: Sequence[float], motion: float) -> Array:
    """A patient who moves a few times during an MR: lines of k-space come from different positions.

    Along J (phase encoding) the lines are measured one after another, the middle of k-space in the middle of the time.
    At two to four moments the patient shifts by up to ``motion`` mm and turns by up to a degree per mm. Ghosts and
    ringing along J follow by themselves.

    Args:
        rng: draws when and how far.
        image: (I, J, K), magnitudes.
        spacing: mm along I and J.
        motion: mm.

    Returns:
        Magnitudes (I, J, K), float64.
    """
    from scipy.ndimage import rotate, shift

    if motion == 0:
        return np.asarray(image, float)
    lines = image.shape[1]
    moments = np.sort(rng.uniform(0.1, 0.9, int(rng.integers(2, 5))) * lines).astype(int)
    edges = [0, *moments.tolist(), lines]
    measured = np.zeros(image.shape, complex)
    for number, (start, stop) in enumerate(pairwise(edges)):
        moved = np.asarray(image, float)
        way, turn = rng.uniform(-motion, motion, 2), rng.uniform(-motion, motion)
        if number != len(edges) // 2 - 1:  # most of the contrast is measured before or after they have moved
            moved = shift(moved, (way[0] / spacing[0], way[1] / spacing[1], 0), order=1)
            moved = rotate(moved, turn, axes=(0, 1), reshape=False, order=1)
        space = np.fft.fftshift(np.fft.fft2(moved, axes=(0, 1)), axes=1)
        measured[:, start:stop] = space[:, start:stop]
    return np.abs(np.fft.ifft2(np.fft.ifftshift(measured, axes=1), axes=(0, 1)))


def bias_field(rng: np.random.Generator, shape: Sequence[int], bias: float) -> Array:
    """A slowly varying coil sensitivity (I, J, K) with mean 1 over its range, from 1 − bias/2 to 1 + bias/2.

    As BrainWeb states its intensity non-uniformity: 20 % is 0.9 to 1.1. A sum of the lowest cosines of the box.
    """
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij", sparse=True)
    field = np.zeros(tuple(shape))
    for weights in rng.normal(0, 1, (4, 3)):
        field = field + np.cos(np.pi / 2 * (weights[0] * x + weights[1] * y + weights[2] * z) + rng.uniform(0, 6.3))
    spread = float(np.ptp(field))
    if spread == 0 or bias == 0:
        return np.ones(tuple(shape))
    return np.asarray(1 + bias * ((field - field.min()) / spread - 0.5))


def rician(rng: np.random.Generator, image: Array, noise: float) -> Array:
    """Magnitudes of ``image`` with Gaussian noise of that standard deviation in both channels (Gudbjartsson and Patz,
    MRM 1995): Rayleigh in the air, about Gaussian in bright tissue."""
    real, imaginary = rng.normal(0, noise, (2, *image.shape))
    return np.asarray(np.hypot(image + real, imaginary))
