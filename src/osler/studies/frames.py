"""``Frames``: images of one place in their order in time, as a film, a cine or a 4D scan holds them."""

from __future__ import annotations

from dataclasses import dataclass

from osler.errors import Unsuitable
from osler.studies.image import Image

__all__ = ["Frames"]


@dataclass(frozen=True)
class Frames:
    """Images in order; what a ``Study`` keeps under ``sequences`` is ``images``.

    Args:
        images: one or more, all of one shape.
        times_s: when each was taken, in seconds from the start of the file; None when the file does not say.

    Raises:
        Unsuitable: when there are none, their shapes differ, or there is not one time for each.
    """

    images: tuple[Image, ...]
    times_s: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if not self.images:
            raise Unsuitable("a sequence needs at least one frame", remedy="choose a start before the last frame")
        shapes = {image.array.shape for image in self.images}
        if len(shapes) > 1:
            raise Unsuitable(
                f"the frames have {len(shapes)} different shapes, {', '.join(map(str, sorted(shapes)[:3]))}",
                remedy="read them one by one with index=N",
            )
        if self.times_s is not None and len(self.times_s) != len(self.images):
            raise Unsuitable(
                f"{len(self.images)} frames have {len(self.times_s)} times", remedy="give one time for each, or none"
            )
