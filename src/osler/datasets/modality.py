"""Whether a study is of the modality that a plan is for: a known difference is refused, what nobody states is said."""

from __future__ import annotations

from collections.abc import Sequence

from osler.datasets.plan import Plan
from osler.errors import Unsuitable
from osler.studies.volume import ImageLike

__all__ = ["check_modality", "modality_note"]

_XRAY = {"CR", "DX", "RG"}


def check_modality(image: ImageLike, plan: Plan, name: str) -> None:
    """Compare where both say what they are; the names for plain radiographs are one.

    Args:
        image: one channel of a study.
        plan: reads ``modality``.
        name: of the channel, for the error.

    Raises:
        Unsuitable: when they differ.
    """
    if plan.modality and image.modality and _family(plan.modality) != _family(image.modality):
        raise Unsuitable(
            f"channel {name} is of modality {image.modality}, the plan is for {plan.modality}",
            remedy=f"give {plan.modality} studies",
        )


def modality_note(images: Sequence[ImageLike], plan: Plan) -> str:
    """What cannot be compared because one side does not state its modality, in a sentence; "" when both do or neither.

    Args:
        images: the channels of a study.
        plan: reads ``modality``; "" when the studies of training did not say theirs, or differed.
    """
    stated = sorted({image.modality for image in images if image.modality})
    if stated and not plan.modality:
        return (
            f"the study is of modality {', '.join(stated)}, and the model does not know the modality that it was "
            "trained on: check that it is the same"
        )
    if plan.modality and any(not image.modality for image in images):
        wanted = plan.modality
        return f"the study does not say its modality, and the model is for {wanted}: check that it is {wanted}"
    return ""


def _family(modality: str) -> str:
    return "X-ray" if modality in _XRAY else modality
