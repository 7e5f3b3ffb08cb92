"""``Image``: voxels or pixels with their place in the patient."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from osler.errors import GeometryError
from osler.studies.geometry import PICTURE_AFFINE, Array, check_affine, spacing_of

__all__ = ["Image", "Source"]


@dataclass(frozen=True)
class Source:
    """Where an image came from, so that a result can be written back onto it.

    ``uids`` holds DICOM UIDs by keyword (StudyInstanceUID, SeriesInstanceUID, FrameOfReferenceUID; SOPInstanceUIDs as
    one tuple in slice order). It is hidden from repr because UIDs identify patients.
    """

    paths: tuple[Path, ...] = ()
    format: str = ""
    uids: dict[str, str | tuple[str, ...]] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Image:
    """Voxels ``(C, I, J, K)`` or pixels ``(C, I, J)`` with an affine from index to RAS+ millimetres.

    Args:
        array: (C, I, J, K) or (C, I, J), any real dtype; C is 1 for grey, 3 for colour.
        affine: (4, 4), index to RAS+ mm. ``PICTURE_AFFINE`` for a picture without geometry.
        modality: DICOM modality code ("CT", "MR", "US", "DX", ...), "" when it is not known.
        spacing_known: False when one unit of the affine is a pixel and not a millimetre.
        units: UCUM unit of the values ("HU" of CT in Hounsfield units, "g/mL{SUVbw}" of PET in SUV), "" when not known.
        window: (centre, width) suggested by the file for display, if any.
        orientation_known: False when nothing says where left and right are (pictures, NIfTI with both codes 0); such
            an image is never marked with letters.
        notes: what a user should know about how it was read, e.g. that the gantry was tilted; nothing that identifies.
        volumes: what the channels are when they are whole volumes (in time, or a list) and no colours, in words.
        curve: how values become brightness where a window is not enough (a VOI LUT): (inputs, outputs from 0 to 1).

    Raises:
        GeometryError: when the shapes do not fit or the affine is not invertible or not finite.
    """

    array: Array
    affine: Array = field(default_factory=PICTURE_AFFINE.copy)
    modality: str = ""
    spacing_known: bool = True
    units: str = ""
    window: tuple[float, float] | None = None
    source: Source = field(default_factory=Source, repr=False)
    orientation_known: bool = True
    notes: tuple[str, ...] = ()
    curve: tuple[Array, Array] | None = field(default=None, repr=False)
    volumes: str = ""

    def __post_init__(self) -> None:
        if self.array.ndim not in (3, 4) or 0 in self.array.shape:
            raise GeometryError(
                f"an image is (C, I, J) or (C, I, J, K) and not empty; this one has shape {self.array.shape}",
                remedy="check that the file holds one 2D or 3D image",
            )
        object.__setattr__(self, "affine", check_affine(self.affine))

    @property
    def dimensions(self) -> int:
        """2 or 3."""
        return self.array.ndim - 1

    @property
    def channels(self) -> int:
        """C."""
        return int(self.array.shape[0])

    @property
    def shape(self) -> tuple[int, ...]:
        """Spatial shape (I, J) or (I, J, K)."""
        return tuple(self.array.shape[1:])

    @property
    def spacing(self) -> tuple[float, ...]:
        """Millimetres (pixels when unknown) along each spatial axis."""
        return spacing_of(self.affine)[: self.dimensions]
