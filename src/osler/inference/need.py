"""What a study needs of a machine, told from its header: how often the network runs, and how many bytes are held.

Only what grows with the study or the patch is counted here. What the process, the network's weights and its buffers
take is measured (``inference.constants``), because it depends on the engine and on the processor.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from osler.datasets.plan import Plan
from osler.datasets.slabs import fits, slab_axis
from osler.datasets.trace import Trace, trace_of
from osler.inference.layout import row_axis
from osler.inference.windows import window_starts
from osler.studies.geometry import PICTURE_AFFINE, Array
from osler.studies.image import Image
from osler.studies.resample import axis_map

__all__ = ["Header", "Need", "need_of"]

_FLOAT = 4
_PICTURE_BYTES = 24e6  # of the three planes and the letters of an overlay
_BLOCK = 16  # planes that are prepared, labelled and written at once


@dataclass(frozen=True)
class Header:
    """What a file says before its pixels are decoded.

    Args:
        shape: (I, J[, K]).
        affine: to RAS+ mm; None for a picture's.
        itemsize: bytes of a voxel.
        by_plane: whether it is read plane by plane, and its mask written so.
    """

    shape: tuple[int, ...]
    affine: Array | None
    itemsize: int = 4
    by_plane: bool = False


@dataclass(frozen=True)
class Need:
    """Of one study.

    Args:
        windows: that go through each network; 1 where the study is one input.
        voxels: of the source, all channels.
        held: bytes, beside the process and the network.
        waits: bytes of these while it waits for the network, or to be written.
        slabs: whether it goes through slab by slab.
    """

    windows: int
    voxels: int
    held: int
    waits: int
    slabs: bool


def need_of(header: Header, plan: Plan, *, blended: int) -> Need:
    """Count windows and bytes.

    Args:
        header: of the study's first channel; the others lie on the same grid.
        plan: of the model.
        blended: channels of what is blended: ``Predictor.blended``.

    Raises:
        StudyError, PlanError: when the study's grid does not fit the plan.
    """
    known = header.affine is not None
    affine = PICTURE_AFFINE if header.affine is None else header.affine
    empty = np.broadcast_to(np.zeros((), np.float32), (1, *header.shape))  # a shape that takes no memory
    trace = trace_of(Image(empty, affine, spacing_known=known), plan.grid)
    source = int(np.prod(header.shape)) * len(plan.channels) * plan.colours
    if plan.task != "segment":
        held = source * (header.itemsize + 2 * _FLOAT) + plan.inputs * int(np.prod(trace.padded_shape)) * _FLOAT
        return Need(1, source, held, held, slabs=False)
    padded = tuple(max(s, p) for s, p in zip(trace.padded_shape, plan.patch, strict=True))
    windows = int(np.prod([len(starts) for starts in window_starts(padded, plan.patch, plan.overlap)]))
    slabs = not plan.regions and fits(trace, plan)
    rest = _in_slabs(header, trace, plan, padded, blended) if slabs else _whole(header, trace, plan, padded)
    waits = source * header.itemsize + int(np.prod(header.shape)) if slabs else int(rest)
    if slabs and header.by_plane:
        waits = 0
    return Need(windows, source, int(rest + _PICTURE_BYTES), waits, slabs)


def _in_slabs(header: Header, trace: Trace, plan: Plan, padded: tuple[int, ...], blended: int) -> float:
    axis = slab_axis(trace)
    plane = np.prod([size for n, size in enumerate(padded) if n != axis])
    source_plane = np.prod(header.shape[:2])
    length = plan.patch[axis]
    along = axis_map(trace.kept_shape[axis], trace.working_shape[axis], order=trace.interpolation.there[axis])
    low, high = along.needs(0, min(length, trace.working_shape[axis]))
    planes = 2 * _BLOCK if header.by_plane else header.shape[2]
    images = source_plane * planes * len(plan.channels) * plan.colours * header.itemsize
    mask = source_plane * planes
    prepared = plane * plan.inputs * _FLOAT * (high - low + _BLOCK)
    inputs = plane * plan.inputs * _FLOAT * length * 3  # a layer, the next one, and the two while they are joined
    bands = _bands(padded, plan, axis) * blended * _FLOAT
    labels = source_plane * _BLOCK * 3
    return float(images + 2 * mask + prepared + inputs + bands + labels)


def _bands(padded: tuple[int, ...], plan: Plan, axis: int) -> float:
    """Voxels that are blended at most at once: all planes of the rows that two rows of windows touch, of the others
    those that the next layer adds to."""
    row = row_axis(axis, padded)
    across = np.prod([size for n, size in enumerate(padded) if n not in (axis, row)])
    starts, length = window_starts(padded, plan.patch, plan.overlap), plan.patch[axis]
    steps = np.diff(starts[axis])
    kept = length - int(steps.min()) if len(steps) else length
    most = max([plan.patch[row], *(plan.patch[row] + int(step) for step in np.diff(starts[row]))])
    whole = min(padded[row], most)
    return float(across * (whole * length + (padded[row] - whole) * kept))


def _whole(header: Header, trace: Trace, plan: Plan, padded: tuple[int, ...]) -> float:
    source = int(np.prod(header.shape))
    working = int(np.prod(padded))
    images = source * len(plan.channels) * plan.colours * (header.itemsize + 2 * _FLOAT)
    answers = working * plan.outputs * _FLOAT * 2  # blended, and one window's share of them or their restored planes
    restored = source * _FLOAT * 3 + source * plan.outputs
    return float(images + working * plan.inputs * _FLOAT * 2 + answers + restored)
