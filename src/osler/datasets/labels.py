"""``LabelSet``: what a dataset's answers mean."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

from osler.findings.finding import Concept

__all__ = ["Kind", "Label", "LabelSet"]

Kind = Literal["classes", "several", "grades", "number", "mask"]


class Label(BaseModel):
    """One possible answer. ``value`` is how the data set writes it: the class index, or the voxel value in a mask."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    value: int
    concept: Concept | None = None


class LabelSet(BaseModel):
    """The kind of answer and, except for a number, the labels in order.

    - ``classes``: exactly one of ``labels``; a target is an index into ``labels``.
    - ``several``: any subset of ``labels``; a target is a 0/1 list, None where not known.
    - ``grades``: one of ``labels``, which are in ascending order; a target is an index into ``labels``.
    - ``number``: a real number; ``unit`` is UCUM. ``labels`` is empty.
    - ``mask``: a value per voxel; ``labels`` are the foreground ones (``value`` as in the files), 0 is background.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    kind: Kind
    labels: tuple[Label, ...] = ()
    name: str = "label"
    unit: str = ""

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the labels, in order."""
        return tuple(label.name for label in self.labels)

    @property
    def values(self) -> tuple[int, ...]:
        """The values of the labels, in order."""
        return tuple(label.value for label in self.labels)
