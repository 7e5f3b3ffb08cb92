"""What Osler does not read, by name, so that the answer is better than "unknown"."""

from __future__ import annotations

from pathlib import Path

from osler.errors import Unreadable
from osler.studies.formats.base import has_suffix

__all__ = ["known_elsewhere"]

_KINDS = (
    ((".mgz", ".mgh"), "FreeSurfer's MGH", "convert it with mri_convert to .nii.gz"),
    ((".mnc",), "MINC", "convert it with mnc2nii to .nii"),
    ((".par", ".rec", ".parx"), "Philips PAR/REC", "convert it with dcm2niix to .nii.gz, or export DICOM"),
    ((".head", ".brik", ".brik.gz"), "AFNI's BRIK", "convert it with 3dAFNItoNIFTI"),
    ((".trk", ".tck"), "a tractogram, which holds no image", "give the image that it belongs to"),
    ((".gii", ".surf.gii"), "GIFTI, a surface and no image", "give the volume that it belongs to"),
    ((".v",), "ECAT 7", "convert it to .nii.gz with the software that wrote it"),
    ((".hdr", ".img"), "Analyze 7.5 or of no known kind", "convert it to NIfTI with the software that wrote it"),
    ((".heic", ".heif", ".webp", ".jp2", ".j2k"), "a picture of a kind that is not read", "save it as PNG or TIFF"),
    ((".mrxs", ".vsi", ".czi"), "a whole slide of a kind that is not read", "export it as pyramidal TIFF or OME-TIFF"),
    ((".npy", ".mat", ".h5", ".hdf5"), "an array without a place", "save it as .nii.gz with its affine, or as .npz"),
    ((".zip", ".7z", ".rar", ".tar", ".tgz", ".tar.gz"), "an archive", "unpack it and name what it holds"),
)
_HEADERS = {".img": (".hdr",), ".raw": (".mhd", ".nhdr"), ".zraw": (".mhd",), ".dat": (".hea",), ".gz": (".nhdr",)}


def known_elsewhere(path: Path) -> Unreadable:
    """The error for a file of no format that is read: what it is, or the header that it belongs to."""
    for suffix in _HEADERS.get(path.suffix.lower(), ()):
        header = path.with_suffix(suffix)
        if header.is_file():
            return Unreadable(f"{path} is the data of {header.name}", remedy=f"name {header.name}")
    for suffixes, kind, remedy in _KINDS:
        if has_suffix(path, suffixes):
            return Unreadable(f"{path} is {kind}", remedy=remedy)
    return Unreadable(
        f"{path} is of no format that Osler knows",
        remedy="Osler reads NIfTI, DICOM, NRRD, MetaImage, PNG, JPEG, TIFF, BMP, slides, films, NPZ, WFDB and EDF",
    )
