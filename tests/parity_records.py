"""Parity records for tests."""

from __future__ import annotations

from osler.models.folder import Model, seal
from osler.models.parity import Form, FormName, ParityRecord, Reference, Scores, judge

__all__ = ["form", "record_of", "with_record"]


def form(name: FormName, milliseconds: float, *, lost: float = 0.0) -> Form:
    """A form that scored 0.9 − ``lost`` Dice."""
    loss = Scores(dice=lost)
    return Form(
        name=name,
        same_labels=1 - lost,
        scores=Scores(dice=0.9 - lost),
        loss=loss,
        faults=judge(loss),
        milliseconds=milliseconds,
    )


def record_of(*forms: Form) -> ParityRecord:
    """Of ten cases; the reference scored 0.9 Dice."""
    return ParityRecord(cases=10, reference=Reference(scores=Scores(dice=0.9), milliseconds=10), forms=forms)


def with_record(model: Model, record: ParityRecord) -> Model:
    """The model with this record in its folder."""
    (model.path / "parity.json").write_text(record.model_dump_json())
    return seal(model.path, model.info)
