"""``Constants``: what a network takes on this machine, measured on its first long run, corrected by every run after it,
and kept in the user's cache.

CACHE/constants/<key>.json

They are not in the model folder: a folder is made on one machine and used on others, and its files are sealed. The key
holds what the figures depend on: the model's digest, engine, precision, threads, members, mirrored copies, and the
processor with its cores. Deleting the file has them measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from contextlib import suppress
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from osler.cache import cache_folder
from osler.datasets.free_memory import resident_memory
from osler.datasets.hardware import Hardware
from osler.inference.meter import Meter
from osler.inference.predictor import Predictor

__all__ = ["Constants", "constants_of", "known_constants", "learn"]

_VERSION = 1
_REST_PER_VOXEL = 6e-8  # until a run has told: reading, resampling, labelling and writing a CT of 512 × 512 × 300
_REST_PER_STUDY = 0.1  # the picture, the findings and the mask of a volume of 64³
_ENOUGH_WINDOWS = 8  # timed in a run, from which on they tell more than the trial did
_MOST_EARLIER = 3  # runs that a new one is weighed against


class Constants(BaseModel):
    """Of one model, engine and machine.

    Args:
        window_s: seconds of one window, or of one small study, through all members and mirrored copies.
        first_bytes: what the process grew by when the first one went through, loading not counted.
        batch_bytes: the same of the usual batch.
        rest_voxel_s: seconds per voxel of the source for all but the network.
        rest_study_s: the same per study.
        learnt: how many runs have told.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    version: int = _VERSION
    window_s: float
    first_bytes: int
    batch_bytes: int
    rest_voxel_s: float = _REST_PER_VOXEL
    rest_study_s: float = _REST_PER_STUDY
    learnt: int = 0


def known_constants(predictor: Predictor) -> Constants | None:
    """What was measured before; None when nothing was, or the cache is off or cannot be read."""
    place = _place(predictor)
    try:
        return None if place is None else Constants.model_validate_json(place.read_bytes())
    except (OSError, ValidationError):
        return None


def constants_of(predictor: Predictor) -> Constants:
    """What was measured before, or is measured now: four runs of the network, which is read anew afterwards.

    Args:
        predictor: entered, and not yet used: what it grows by is measured.

    Raises:
        MemoryError: when not even one window fits.
    """
    known = known_constants(predictor)
    if known is not None:
        return known
    before = resident_memory()
    with Meter() as first:
        predictor.try_out(1)
    with Meter() as one:
        predictor.try_out(1)
    seconds, whole = one.seconds, first
    if predictor.usual_batch > 1:
        predictor.try_out(predictor.usual_batch)
        with Meter() as whole:
            predictor.try_out(predictor.usual_batch)
        seconds = whole.seconds / predictor.usual_batch
    first_bytes = max(0, int(first.peak_mb * 1e6) - before)
    batch_bytes = max(first_bytes, int(whole.peak_mb * 1e6) - before)
    found = Constants(window_s=seconds, first_bytes=first_bytes, batch_bytes=batch_bytes)
    _keep(predictor, found)
    predictor.reload()
    return found


def learn(
    predictor: Predictor, constants: Constants, *, seconds: float, windows: int, voxels: int, small: int = 0
) -> None:
    """Remember what a run took, in the network and beside it; what earlier runs took counts less with each.

    What was measured once, perhaps while the machine was busy, so does not stand for ever.

    Args:
        predictor: of the run; it has timed its windows.
        constants: that the run was estimated with.
        seconds: by the clock, of all studies that tell.
        windows: that these were thought to need; what really ran of them counts where it was timed.
        voxels: of their sources.
        small: how many studies that were, if they were small: then they tell what a study takes, and not a voxel.
    """
    timed, share = predictor.timed, 1 / (1 + min(constants.learnt, _MOST_EARLIER))
    network, window_s = windows * constants.window_s, constants.window_s
    if timed.windows >= _ENOUGH_WINDOWS:
        window_s = timed.seconds / timed.windows
        network = min(timed.seconds, windows * window_s)  # the run may have had other studies, and passed windows over
    rest = max(0.0, seconds - network)
    found = {"window_s": window_s} | ({"rest_study_s": rest / small} if small else {"rest_voxel_s": rest / voxels})
    mean = {name: (1 - share) * getattr(constants, name) + share * value for name, value in found.items()}
    _keep(predictor, constants.model_copy(update={**mean, "learnt": constants.learnt + 1}))


def _keep(predictor: Predictor, constants: Constants) -> None:
    """A cache that cannot be written costs the next run a moment and nothing else."""
    place = _place(predictor)
    if place is None:
        return
    part = place.with_name(f".{place.name}.{os.getpid()}.{time.monotonic_ns()}.part")
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(constants.model_dump_json(indent=1))
        part.replace(place)
    except OSError:
        with suppress(OSError):
            part.unlink()


def _place(predictor: Predictor) -> Path | None:
    folder = cache_folder()
    if folder is None:
        return None
    facts = {**predictor.facts, "machine": Hardware.detect().model_dump(), "version": _VERSION}
    key = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]
    return folder / "constants" / f"{key}.json"
