"""What a reader may do with a damaged input: give a sound value, or refuse it with the reason.

An input passes when every call on it returns a value whose geometry is finite and whose memory is bounded, or raises an
``OslerError`` that has a problem which names the file, and nothing of the patient. Anything else is a failure: another
exception, memory that was asked for without a look at the size of the file, more than 5 s, more than 1 GiB, a crash.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.errors import OslerError
from osler.studies.frames import Frames
from osler.studies.image import Image
from osler.studies.study import Signal

__all__ = ["MOST_BYTES", "MOST_SECONDS", "PLANTED", "Call", "Verdict", "fault_of", "judge"]

MOST_BYTES = 1 << 30
MOST_SECONDS = 5.0
PLANTED = "Fuzzpatient"
"""The name of every patient in the seeds; no error may hold it."""
Call = Callable[[], Any]
_NO_ROOM = ("unable to allocate", "insufficient memory", "bad_alloc", "out of memory", "cannot allocate", "malloc of")


@dataclass(frozen=True)
class Verdict:
    """``outcome`` is "read", "refused", "failed", or "" for a call that says something of a file and reads none of its
    content; ``why`` is the reason of a refusal or failure."""

    outcome: str
    why: str = ""


def judge(calls: Iterable[tuple[str, Call]], names: Collection[str], *, must_refuse: bool = False) -> Verdict:
    """Make every call; the first failure ends it.

    Args:
        calls: with their names, one after the other.
        names: one of which the problem of a refusal must hold; empty where none needs to be named.
        must_refuse: whether the input is so damaged that nothing may be read.
    """
    read, reason = False, ""
    for name, call in calls:
        verdict = _one(call, names)
        if verdict.outcome == "read" and must_refuse:
            verdict = Verdict("failed", "it was read although half of it is lost")
        if verdict.outcome == "failed":
            return Verdict("failed", f"{name}: {verdict.why}")
        read, reason = read or verdict.outcome == "read", reason or verdict.why
    return Verdict("read") if read else Verdict("refused", reason or "nothing that can be read")


def _one(call: Call, names: Collection[str]) -> Verdict:
    try:
        value = call()
        fault = fault_of(value)
    except OslerError as error:
        fault = _fault_of_refusal(error, names)
        return Verdict("failed", fault) if fault else Verdict("refused", error.problem)
    except Exception as error:  # noqa: BLE001  what readers must not raise is what is looked for
        where = traceback.extract_tb(error.__traceback__)
        own = [f"{Path(one.filename).name}:{one.lineno}" for one in where if "osler" in one.filename][-2:]
        text = " ".join(str(error).split())[:200]
        return Verdict("failed", f"{type(error).__name__}: {text} (at {', '.join(own)} in {where[-1].name})")
    if fault:
        return Verdict("failed", fault)
    return Verdict("read" if _is_content(value) else "")


def _is_content(value: Any) -> bool:
    """Whether it holds an image or a signal: names, headers and lists of what there is are not that."""
    if isinstance(value, Mapping):
        return any(map(_is_content, value.values()))
    if isinstance(value, list | tuple):
        return any(map(_is_content, value))
    return isinstance(value, Image | Frames | Signal | np.ndarray)


def _fault_of_refusal(error: OslerError, names: Collection[str]) -> str:
    if not error.problem.strip():
        return f"a {type(error).__name__} without a problem"
    if names and not any(name in error.problem for name in names):
        return f"the refusal names no file: {error.problem[:200]}"
    if PLANTED in str(error):
        return f"the refusal tells the patient's name: {error.problem[:200]}"
    if len(str(error)) > 20_000:
        return f"the refusal is {len(str(error)):,} characters long: {error.problem[:200]}"
    for cause in _causes(error):
        text = str(cause).lower()
        if any(words in text for words in _NO_ROOM) or (isinstance(cause, MemoryError) and not text):
            return f"it asked for more memory than there is before it refused ({text[:150]})"
    return ""


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error.__cause__ is not None and id(error.__cause__) not in seen:
        error = error.__cause__
        seen.add(id(error))
        yield error


def fault_of(value: Any) -> str:
    """What is wrong with a value that a reader returned; "" when it is sound."""
    if isinstance(value, Image):
        return _fault_of_image(value)
    if isinstance(value, Frames):
        times = np.array(value.times_s if value.times_s is not None else [0.0], float)
        faults = [_fault_of_image(value.images[0])]
        total = sum(image.array.nbytes for image in value.images)
        faults += [f"frames of {total:,} bytes"] if total > MOST_BYTES else []
        return next(filter(None, faults), "" if np.isfinite(times).all() else f"the times {times}")
    if isinstance(value, Signal):
        return _fault_of_signal(value)
    if isinstance(value, Mapping):
        return next(filter(None, map(fault_of, value.values())), "")
    if isinstance(value, list | tuple):
        return next(filter(None, map(fault_of, value)), "")
    return ""


def _fault_of_image(image: Image) -> str:
    spacing = np.array(image.spacing)
    numbers = [*image.affine.ravel(), *spacing, *(image.window or ())]
    if not np.isfinite(numbers).all() or (spacing <= 0).any():
        return f"an image with spacing {image.spacing}, window {image.window} and affine {image.affine.tolist()}"
    if abs(np.linalg.det(image.affine)) < 1e-12:
        return f"an image with the singular affine {image.affine.tolist()}"
    if image.array.nbytes > MOST_BYTES:
        return f"an image of {image.array.nbytes:,} bytes"
    return "" if image.array.dtype.kind in "iufb" else f"an image of {image.array.dtype}"


def _fault_of_signal(signal: Signal) -> str:
    if signal.samples.ndim != 2 or len(signal.leads) != len(signal.samples) or not signal.samples.size:
        return f"a signal of shape {signal.samples.shape} with {len(signal.leads)} leads"
    if not np.isfinite(signal.rate_hz) or signal.rate_hz <= 0:
        return f"a signal of {signal.rate_hz} Hz"
    return "" if signal.samples.nbytes <= MOST_BYTES else f"a signal of {signal.samples.nbytes:,} bytes"
