"""Each fault has the size that physics gives it."""

from __future__ import annotations

import numpy as np
import pytest

from osler.errors import UsageError
from osler.studies.phantoms.degrade import (
    WATER,
    Faults,
    ParallelScanner,
    bias_field,
    ct_low_dose,
    ct_motion,
    mr_motion,
    rician,
)


def disc(size: int, spacing: float, radius: float) -> np.ndarray:
    """(I, J, 1): 1 inside, with soft edges, 0 outside."""
    at = (np.arange(size) - (size - 1) / 2) * spacing
    return np.clip((radius - np.hypot(at[:, None], at[None])) / spacing + 0.5, 0, 1)[..., None]


def test_a_line_through_a_disc_is_as_long_as_its_chord() -> None:
    scanner = ParallelScanner((96, 96), 2.0, 60)
    lines = scanner.project(disc(96, 2.0, 70))[:, :, 0]
    apart = (np.arange(scanner.detectors) - (scanner.detectors - 1) / 2) * 2.0
    chords = 2 * np.sqrt(np.maximum(70**2 - apart**2, 0))
    inner = np.abs(apart) < 60
    # Single rays beat against the grid of pixels; their mean does not.
    assert np.abs(lines[:, inner] / chords[inner] - 1).mean() < 0.02
    assert np.abs(lines[:, inner].mean(axis=0) / chords[inner] - 1).max() < 0.01
    assert lines.sum(axis=1) * 2.0 == pytest.approx(np.pi * 70**2, rel=2e-3)


def test_what_is_projected_is_reconstructed() -> None:
    scanner = ParallelScanner((96, 96), 2.0, 120)
    back = scanner.reconstruct(scanner.project(disc(96, 2.0, 70)))[:, :, 0]
    at = np.hypot(*((np.indices((96, 96)) - 47.5) * 2))
    assert back[at < 55].mean() == pytest.approx(1, abs=0.03)
    assert abs(back[(at > 80) & (at < 90)].mean()) < 0.03


def water_cylinder() -> np.ndarray:
    return np.repeat(disc(64, 5.0, 130) * 1000 - 1000, 4, axis=2)


def test_noise_of_low_dose_grows_as_photons_get_fewer_and_the_mean_stays() -> None:
    hu = water_cylinder()
    middle = (slice(24, 40), slice(24, 40))
    noise = {}
    for dose in (0.5, 0.2):
        change = ct_low_dose(np.random.default_rng(1), hu, (5, 5, 5), dose) - hu
        noise[dose] = change[middle].std()
        assert abs(change[middle].mean()) < 3 * noise[dose] / 8
    assert noise[0.2] / noise[0.5] == pytest.approx(np.sqrt((1 / 0.2 - 1) / (1 / 0.5 - 1)), rel=0.15)


def test_full_dose_and_a_patient_at_rest_change_nothing() -> None:
    hu = water_cylinder()
    rng = np.random.default_rng(0)
    assert np.array_equal(ct_low_dose(rng, hu, (5, 5, 5), 1.0), hu)
    assert np.array_equal(ct_motion(rng, hu, (5, 5, 5), 0.0), hu)
    assert np.array_equal(mr_motion(rng, hu, (5, 5), 0.0), hu)


def test_a_breathing_patient_blurs_what_moves_and_leaves_the_middle() -> None:
    hu = water_cylinder()
    change = np.abs(ct_motion(np.random.default_rng(1), hu, (5, 5, 5), 20) - hu)
    edge = (hu > -900) & (hu < -100)
    assert change[edge].mean() > 5 * change[28:36, 28:36].mean()


def test_motion_in_an_mr_keeps_the_signal_and_puts_ghosts_along_the_phase_axis() -> None:
    image = disc(64, 1.0, 14) * 100
    moved = mr_motion(np.random.default_rng(2), image, (1, 1), 4)
    assert moved.sum() == pytest.approx(image.sum(), rel=0.3)
    outside = np.ones((64, 64), bool)
    outside[12:52, 12:52] = False
    along, across = outside.copy(), outside.copy()
    along[:12], along[52:], across[:, :12], across[:, 52:] = False, False, False, False
    assert moved[along].mean() > 3 * moved[across].mean()


def test_a_bias_field_has_the_range_that_was_asked_for() -> None:
    field = bias_field(np.random.default_rng(3), (20, 20, 10), 0.4)
    assert (field.min(), field.max()) == (pytest.approx(0.8), pytest.approx(1.2))
    assert np.abs(np.diff(field, axis=0)).max() < 0.1


def test_noise_is_rayleigh_in_air_and_about_gaussian_in_tissue() -> None:
    rng = np.random.default_rng(4)
    air, tissue = rician(rng, np.zeros(200_000), 10), rician(rng, np.full(200_000, 200.0), 10)
    assert air.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.01)
    assert (tissue.mean(), tissue.std()) == (pytest.approx(200, rel=0.01), pytest.approx(10, rel=0.01))


def test_water_attenuates_between_the_values_of_nist_at_60_and_80_kev() -> None:
    assert 0.1837 < WATER * 10 < 0.2059
    assert abs(WATER * 10 - 0.1929) < 2e-4  # XCOM at 70 keV; xraydb (Elam) 0.19285


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"dose": 0}, "the dose is a share above 0"),
        ({"dose": 1.5}, "the dose is a share above 0"),
        ({"motion": -1}, "the motion is 0 to 50 mm"),
        ({"bias": 2}, "the bias is 0 to 1"),
    ],
)
def test_faults_that_make_no_sense_are_refused(values: dict[str, float], problem: str) -> None:
    with pytest.raises(UsageError, match=problem):
        Faults(**values)
