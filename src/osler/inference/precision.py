"""Which arithmetic a prediction runs in: the fastest that the processor offers and the model's parity record allows.

What is asked for by name is not swapped for something else: a form that was found to lose too much, or that this
machine or engine cannot run, is refused with the reason. One that was never compared with float32 is run, because
nothing is known against it and who asked for it may be about to compare it; the note says so, and it is never chosen by
itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from osler.errors import UsageError
from osler.inference.engines import Precision
from osler.models.folder import INT8_SUFFIX, Model
from osler.models.parity import FormName

__all__ = ["Choice", "choose_precision", "offered_forms"]

_ENGINE = "openvino"
"""Whose graphs the parity record is about."""
_CAPABILITY: dict[FormName, str] = {"float32": "FP32", "bf16": "BF16", "int8": "INT8"}


@dataclass(frozen=True)
class Choice:
    """``precision`` for the engine, and what the user should know about it; "" when there is nothing."""

    precision: Precision
    note: str = ""


@cache
def offered_forms() -> tuple[FormName, ...]:
    """What OpenVINO says that this processor runs natively."""
    import openvino

    found = set(openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES"))
    return tuple(name for name, capability in _CAPABILITY.items() if capability in found)


def choose_precision(model: Model, wanted: Precision | None, engine: str) -> Choice:
    """Decide.

    Args:
        model: its record and graphs.
        wanted: by name; "auto" and None leave it to the record.
        engine: the record is about OpenVINO; other engines run in float32 unless asked for something else.

    Raises:
        UsageError: when ``wanted`` cannot be run here, or was found to lose too much.
        ModelError: when the record is damaged.
    """
    if engine != _ENGINE:
        return _of_other_engines(wanted, engine)
    if wanted == "float32":
        return Choice("float32")
    record = model.parity()
    if wanted is None or wanted == "auto":
        runnable = [] if record is None else [form for form in record.allowed() if _missing(model, form) == ""]
        return Choice(runnable[0] if runnable else "float32")
    missing = _missing(model, wanted)
    if missing:
        raise UsageError(f"{wanted} cannot be used: {missing}", remedy="leave --precision out")
    found = None if record is None else record.form(wanted)
    if found is None:
        return Choice(wanted, f"{wanted} was never compared with float32 for this model; osler compress does that")
    if not found.allowed:
        raise UsageError(
            f"{wanted} is not allowed for this model: {', '.join(found.faults)}",
            remedy="leave --precision out; osler verify shows the parity record",
        )
    return Choice(wanted)


def _of_other_engines(wanted: Precision | None, engine: str) -> Choice:
    if wanted == "int8":
        raise UsageError(f"the engine {engine} does not run int8", remedy="use --engine openvino")
    if wanted == "bf16":
        return Choice("bf16", f"bf16 of the engine {engine} was never compared with float32 for this model")
    return Choice(wanted or "float32")


def _missing(model: Model, form: FormName) -> str:
    """Why a form cannot be run here; "" when it can."""
    if form not in offered_forms():
        return f"OpenVINO does not offer it on this processor, which has {', '.join(offered_forms())}"
    if form == "int8" and not all(INT8_SUFFIX in member.graphs for member in model.info.members):
        return "the model has no INT8 graphs (osler compress --int8 makes them)"
    return ""
