"""What NIfTI, NRRD and MetaImage share: voxels with up to two axes that are not space, and how they become images.

Rules:
- T are frames (times, volumes of a list), V the values of one voxel (colours, components of a vector).
- Without ``index`` whichever of the two is 1 is dropped and the other becomes channels; with both above 1 the frame
  must be chosen. With ``index`` one frame is taken.
- Alpha is dropped where it says nothing (the same everywhere); otherwise the file is refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from osler.errors import GeometryError, NoneChosen, Unreadable, Unsuitable, UsageError
from osler.studies.frames import Frames
from osler.studies.geometry import Array
from osler.studies.image import Image, Source

__all__ = [
    "Volumes",
    "as_channels",
    "chosen_frame",
    "frame_range",
    "is_sheared",
    "only_real",
    "unplaced_affine",
    "without_alpha",
]


@dataclass(frozen=True, eq=False)
class Volumes:
    """The content of one file.

    Args:
        voxels: (I, J, K, T, V) or (I, J, T, V).
        affine: (4, 4), index to RAS+ mm.
        source: where it came from; the first path names the file in errors.
        times_s: per frame, None when the file does not say.
    """

    voxels: Array
    affine: Array
    source: Source
    spacing_known: bool = True
    orientation_known: bool = True
    times_s: tuple[float, ...] | None = None

    def image(self, index: int | None = None) -> Image:
        """All of it as one image of several channels, or frame ``index``.

        Raises:
            UsageError: when the file has no such frame.
            NoneChosen: when a frame must be chosen.
        """
        path = self.source.paths[0]
        frames, values = self.voxels.shape[-2:]
        if index is None and frames > 1 and values > 1:
            raise NoneChosen(
                f"{path} holds {frames} frames of {values} channels each",
                remedy=f"choose a frame with index=0 to {frames - 1}, or read them with read_frames",
            )
        if index is None:
            if frames == 1:
                return self._image(self.voxels[..., 0, :])
            return replace(self._image(self.voxels[..., 0]), volumes=self._what())
        return self._image(self.voxels[..., chosen_frame(path, frames, index), :])

    def frames(self, start: int = 0, stop: int | None = None, step: int = 1) -> Frames:
        """The frames ``range(start, stop, step)``, each an image of V channels.

        Raises:
            UsageError: when there is none of them.
        """
        places = frame_range(self.source.paths[0], self.voxels.shape[-2], start, stop, step)
        times = None if self.times_s is None else tuple(self.times_s[place] for place in places)
        return Frames(tuple(self._image(self.voxels[..., place, :]) for place in places), times)

    def _what(self) -> str:
        """What the frames are, in words."""
        if self.times_s is None:
            return f"{self.voxels.shape[-2]} volumes"
        return f"{len(self.times_s)} volumes in time, {self.times_s[1] - self.times_s[0]:.4g} s apart"

    def _image(self, voxels: Array) -> Image:
        if voxels.dtype == np.float64:  # single precision is ample for images
            voxels = voxels.astype(np.float32)
        return Image(
            np.moveaxis(voxels, -1, 0),
            self.affine,
            source=self.source,
            spacing_known=self.spacing_known,
            orientation_known=self.orientation_known,
        )


def as_channels(image: Image) -> Array:
    """(V, I, J[, K]) to (I, J[, K], V), for writing."""
    return np.moveaxis(image.array, 0, -1)


def chosen_frame(path: Path, count: int, index: int) -> int:
    """``index``, when there is such a frame.

    Raises:
        UsageError: when there is not.
    """
    if not 0 <= index < count:
        raise UsageError(
            f"{path} holds {count} frames and frame {index} was asked for", remedy=f"choose one from 0 to {count - 1}"
        )
    return index


def frame_range(path: Path, count: int, start: int, stop: int | None, step: int) -> range:
    """The frames that were asked for, as ``range`` counts them.

    Raises:
        UsageError: for a negative start, a step below 1, or when nothing is left.
    """
    places = range(start, count if stop is None else min(stop, count), step) if step > 0 else range(0)
    if start < 0 or not places:
        raise UsageError(
            f"{path} holds {count} frames, and none of them is in range({start}, {stop}, {step})",
            remedy=f"choose a start from 0 to {count - 1} and a step of at least 1",
        )
    return places


def only_real(dtype: np.dtype[np.generic], path: Path) -> None:
    """Refuse values that are no plain real numbers.

    Raises:
        Unreadable: for complex numbers, long doubles and records.
    """
    if dtype.kind not in "iufb" or dtype.itemsize > 8:
        raise Unreadable(
            f"{path} holds {dtype} values, and only real numbers of at most 64 bits can be used",
            remedy="convert it, for instance to its magnitude in float32",
        )


def without_alpha(voxels: Array, path: Path) -> Array:
    """(..., 4) colours with alpha to (..., 3).

    Raises:
        Unsuitable: when the transparency differs from voxel to voxel, so that dropping it would change what is seen.
    """
    alpha = voxels[..., 3]
    if (alpha != alpha.flat[0]).any():
        raise Unsuitable(f"{path} is partly transparent", remedy="save it as RGB on the background that is meant")
    return voxels[..., :3]


def unplaced_affine(shape: Sequence[int], spacing: Sequence[float]) -> Array:
    """Where voxels are put when nothing says where they lie: centre at 0, I to the left, J anterior, K superior.

    Args:
        shape: (I, J, K).
        spacing: mm along each.
    """
    steps = np.array(spacing, float) * (-1, 1, 1)
    affine = np.diag([*steps, 1.0])
    affine[:3, 3] = -steps * (np.array(shape[:3], float) - 1) / 2
    return affine


def is_sheared(affine: Array) -> bool:
    """Whether the axes are not at right angles (by more than 1e-4 in cosine)."""
    columns = np.asarray(affine, float)[:3, :3]
    lengths = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(lengths).all() and (lengths > 0).all()):
        raise GeometryError(
            "the affine must be a finite, invertible 4×4 matrix",
            remedy="the file's header does not say where the voxels lie; repair it at its source",
        )
    directions = columns / lengths
    return bool(np.abs(directions.T @ directions - np.eye(3)).max() > 1e-4)
