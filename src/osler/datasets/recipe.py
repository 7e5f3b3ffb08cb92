"""How a network is trained: intensities, loss, optimiser, augmentation, each with its reason. A part of ``planner``."""

from __future__ import annotations

from osler.datasets.fingerprint import Fingerprint
from osler.datasets.plan import AugmentationPlan, LossPlan, NormalisationPlan, OptimiserPlan, TaskName

__all__ = ["augmentation_for", "flips_for", "loss_for", "normalisation_for", "optimiser_for"]

_FEW_PATIENTS = 60  # of training; anatomy and scanners vary more than so many can show
_MIRROR_LIMIT = 0.25  # of ``Fingerprint.symmetry``: below it a mirrored study looks like any other
_XRAY = {"CR", "DX", "RG", "RF", "MG", "XA"}


def flips_for(fingerprint: Fingerprint, reasons: dict[str, str]) -> tuple[bool, ...]:
    """Mirror an axis only where the average study looks like its mirror image and no label names a side."""
    axes = fingerprint.dimensions
    sided = [n for n in fingerprint.labels.names if {"left", "right", "l", "r"} & set(_words(n))]
    if sided:
        reasons["augmentation.flips"] = f"none: {sided[0]!r} names a side"
        return (False,) * axes
    symmetry = fingerprint.symmetry or (float("inf"),) * axes
    # up and down is never a mirror symmetry of a patient; only the axis across is considered for anatomy
    flips = tuple(value < _MIRROR_LIMIT for value in symmetry)
    shown = ", ".join(f"{value:.2f}" for value in symmetry)
    reasons["augmentation.flips"] = f"asymmetry of the average study per axis {shown}; mirrored below {_MIRROR_LIMIT}"
    return flips


def _words(name: str) -> list[str]:
    return "".join(c.lower() if c.isalpha() else " " for c in name).split()


def normalisation_for(fingerprint: Fingerprint, reasons: dict[str, str]) -> tuple[NormalisationPlan, ...]:
    """How each channel is brought to the network's range."""
    if fingerprint.units == "HU" or fingerprint.modality == "CT":
        reasons["normalisation"] = "CT numbers mean the same in every study: percentiles of the dataset"
        return tuple(
            NormalisationPlan(
                kind="dataset",
                low=c.foreground_percentile_00_5,
                high=c.foreground_percentile_99_5,
                mean=c.foreground_mean,
                std=c.foreground_std or 1.0,
            )
            for c in fingerprint.channels
        )
    if fingerprint.modality in _XRAY:
        reasons["normalisation"] = "radiographs are windowed per image to percentiles 1 to 99"
        return tuple(NormalisationPlan(kind="image", low=1.0, high=99.0) for _ in fingerprint.channels)
    reasons["normalisation"] = (
        "intensities have no unit: each image to its own mean and deviation, percentiles 0.5 to 99.5"
    )
    return tuple(NormalisationPlan(kind="image", low=0.5, high=99.5) for _ in fingerprint.channels)


def loss_for(fingerprint: Fingerprint, task: TaskName, reasons: dict[str, str]) -> LossPlan:
    """What is minimised."""
    if task == "segment":
        if fingerprint.dimensions == 2:
            reasons["loss"] = "overlap and probabilities in equal parts; small structures count as much as large ones"
            return LossPlan(name="dice_cross_entropy", dice_of="sample")
        reasons["loss"] = "overlap and probabilities in equal parts"
        return LossPlan(name="dice_cross_entropy")
    if task == "regress":
        reasons["loss"] = "robust to single wrong values"
        return LossPlan(name="huber")
    if task in ("multilabel", "ordinal"):
        reasons["loss"] = "one yes-or-no question per output"
        return LossPlan(name="binary_cross_entropy")
    counts = [max(1, label.cases) for label in fingerprint.label_statistics]
    if max(counts) / min(counts) <= 10:
        reasons["loss"] = (
            f"classes are balanced within {max(counts) / min(counts):.1f} to 1: no weights, honest probabilities"
        )
        return LossPlan(name="cross_entropy", label_smoothing=0.05)
    weights = [(max(counts) / n) ** 0.5 for n in counts]
    mean = sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts)
    reasons["loss"] = f"the rarest class has {min(counts)} of {sum(counts)} cases: weights by the root of rarity"
    return LossPlan(name="cross_entropy", class_weights=tuple(round(w / mean, 4) for w in weights))


def optimiser_for(fingerprint: Fingerprint, task: TaskName, reasons: dict[str, str]) -> OptimiserPlan:
    """How it is minimised."""
    reasons["optimiser"] = "AdamW with warm-up, cosine to zero and averaged weights needs the fewest steps"
    if task == "segment":
        if fingerprint.dimensions == 2:
            return OptimiserPlan(learning_rate=2e-3, weight_decay=1e-2, ema=0.995)
        return OptimiserPlan(learning_rate=1e-3, weight_decay=1e-2)
    return OptimiserPlan(learning_rate=1e-3, weight_decay=5e-2, ema=0.998)


def augmentation_for(
    fingerprint: Fingerprint, task: TaskName, flips: tuple[bool, ...], reasons: dict[str, str]
) -> AugmentationPlan:
    """How strongly training cases are changed."""
    if task == "segment":
        patients = fingerprint.patients or fingerprint.cases
        if fingerprint.dimensions == 2 and patients < _FEW_PATIENTS:
            reasons["augmentation"] = f"strong: only {patients} training patients"
            return AugmentationPlan(
                flips=flips,
                rotation=60.0,
                scale=0.3,
                shear=0.1,
                elastic=1.0,
                brightness=0.2,
                contrast=0.4,
                gamma=0.5,
                probability=0.5,
            )
        reasons["augmentation"] = "moderate: rotation, scaling, bending, intensities"
        return AugmentationPlan(flips=flips, elastic=1.0)
    small = fingerprint.cases < 2000
    reasons["augmentation"] = f"{'strong' if small else 'moderate'}: {fingerprint.cases} training cases"
    tiny = max(fingerprint.median_shape) < 48  # blur and loss of resolution would erase what little there is
    return AugmentationPlan(
        flips=flips,
        rotation=25.0 if small else 12.0,
        scale=0.3 if small else 0.15,
        shear=0.1,
        shift=0.08,
        contrast=0.25,
        blur=0.0 if tiny else 0.7,
        low_resolution=0.0 if tiny else 0.5,
        erase=0.25 if small else 0.0,
        mixup=0.4 if small else 0.2,
        probability=0.5 if small else 0.3,
    )
