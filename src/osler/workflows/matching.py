"""Whether a dataset's answers are those that a model gives, and the dataset's answers in the model's terms."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.datasets.labels import LabelSet
from osler.datasets.manifest import Target
from osler.errors import ModelError, Unsuitable
from osler.studies.geometry import Array

__all__ = ["Matching", "match_labels"]

_KINDS = {
    "classes": "one class per study",
    "several": "several labels per study",
    "grades": "one grade per study",
    "number": "a number per study",
    "mask": "a mask per study",
}


@dataclass(frozen=True)
class Matching:
    """``places[i]`` is where the data's label i stands among the model's; ``absent`` are the model's labels that the
    data do not have."""

    data: LabelSet
    model: LabelSet
    places: tuple[int, ...]
    absent: tuple[str, ...]

    def target(self, target: Target) -> Array:
        """A target in the model's terms: () index or number; (labels,) of 0, 1 and NaN for several.

        Raises:
            Unsuitable: when it is no answer of this kind.
        """
        if isinstance(target, tuple):
            several = np.full(len(self.model.labels), np.nan)
            several[list(self.places)] = [np.nan if value is None else value for value in target]
            return several
        if self.model.kind == "number":
            return np.asarray(float(target))
        if not 0 <= target < len(self.places):
            raise Unsuitable(f"the answer {target!r} is no label", remedy="check the labels of the data")
        return np.asarray(self.places[int(target)])

    def mask(self, array: Array) -> Array:
        """A mask with the model's values from one with the data's.

        Raises:
            Unsuitable: when it holds a value that is no label of the data.
        """
        result = np.zeros(array.shape, np.result_type(*(np.min_scalar_type(v) for v in (0, *self.model.values))))
        known = array == 0
        for value, place in zip(self.data.values, self.places, strict=True):
            here = array == value
            result[here] = self.model.values[place]
            known |= here
        if not known.all():
            foreign = ", ".join(f"{v:g}" for v in np.unique(array[~known])[:10].tolist())
            raise Unsuitable(f"the mask holds values that are no label: {foreign}", remedy="add them to the labels")
        return result


def match_labels(data: LabelSet, model: LabelSet) -> Matching:
    """Match labels by name. The data may lack some of the model's, and order or number them otherwise.

    Raises:
        ModelError: when the model is for another task, or does not know a label of the data.
    """
    if data.kind != model.kind:
        raise ModelError(
            f"the model is for another task: it gives {_KINDS[model.kind]}, and the data hold {_KINDS[data.kind]}",
            remedy="evaluate it on data of its own task",
        )
    if model.kind == "number":
        if data.unit and model.unit and data.unit != model.unit:
            raise ModelError(
                f"the model answers in {model.unit}, and the data are in {data.unit}", remedy="convert them"
            )
        return Matching(data, model, (), ())
    foreign = [name for name in data.names if name not in model.names]
    if foreign:
        raise ModelError(
            f"the model does not know the data's labels {', '.join(foreign)}; its own are {', '.join(model.names)}",
            remedy="evaluate it on data with its labels, or rename them",
        )
    places = tuple(model.names.index(name) for name in data.names)
    return Matching(data, model, places, tuple(name for name in model.names if name not in data.names))
