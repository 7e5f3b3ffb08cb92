"""Writes ``docs/reference/dicom-files.md``: what becomes of every DICOM file that tests use.

python tests/studies/dicom_table.py FOLDER_OF_SHARED_DATA
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import nibabel
import pydicom

from osler.errors import StudyError
from osler.studies.formats._dicom_header import is_dicom
from osler.studies.formats.dicom import read_dicom_image
from osler.studies.formats.dicom_index import DicomIndex, index_files, index_folder
from osler.studies.image import Image

PAGE = Path(__file__).parents[2] / "docs" / "reference" / "dicom-files.md"
_TEXT = """# What becomes of DICOM test files

Every file of `pydicom.data` (pydicom {version}), and every DICOM file of nibabel's tests and of the shared data (of
which `dicom-seg-sr` is highdicom's), is read, or refused with a reason. A test compares this page with what Osler does;
`python tests/studies/dicom_table.py DATA` writes it.

Shapes are columns × rows (× slices), after colour; "film" is a multi-frame file whose frames have no place in the
patient, of which one frame at a time is read.
"""
_PEERS = """
## Where peers differ

- A tilted gantry: SimpleITK and dcm2niix step from slice to slice along the normal and drop the shear, so that their
  last slice lies beside its own ImagePositionPatient (dcm2niix warns, and writes a second, resampled file). Osler's
  affine is sheared; `tests/studies/test_dicom_peers.py` measures it.
- `ct-organs/dicom`: GDCM, and SimpleITK with it, finds no series where SeriesInstanceUID is empty. Given the files in
  order, it has the same voxels at the same places.
- `JPGExtended.dcm`, `JPEG-lossy.dcm` and the 12-bit files of `dicom-encodings` (JPEG processes 2 and 4, 6 and 8, 10
  and 12): GDCM and pydicom's plug-ins refuse them.
- All other series and planes: the same voxels at the same places, to 0.01 of a voxel.
"""


def page(shared: Path) -> str:
    """The whole page."""
    base = Path(pydicom.__file__).parent / "data" / "test_files"
    parts = [_TEXT.format(version=pydicom.__version__), "\n## pydicom.data\n\n", _table(_files(base), base)]
    theirs = Path(nibabel.__file__).parent / "nicom" / "tests" / "data"
    parts += ["\n## nibabel\n\n", _table([file for file in _files(theirs) if is_dicom(file)], theirs)]
    for name in ("dicom-encodings", "dicom-seg-sr"):
        parts += [f"\n## {name}\n\n", _table(_files(shared / name), shared / name)]
    parts += ["\n## Series\n\n", _series_table(shared, ("brain-mr-dicom", "ct-organs/dicom")), _PEERS]
    return "".join(parts)


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.is_file())


def _table(files: Sequence[Path], base: Path) -> str:
    """A row per file and image; files of a folder of which the same becomes share one."""
    rows: dict[tuple[Path, str], list[str]] = {}
    for file in files:
        name = file.relative_to(base).as_posix()
        for text in _outcomes(file, base):
            alike = file.parent if file.parent != base else file
            rows.setdefault((alike, text.removeprefix(f"refused: {name} ")), []).append(name)
    lines = [f"| {_named(names)} | {_capped(text)} |\n" for (_, text), names in rows.items()]
    return "".join(["| file | becomes |\n", "| --- | --- |\n", *lines])


def _named(names: Sequence[str]) -> str:
    return f"`{names[0]}`" + (f" and {len(names) - 1} more beside it" if len(names) > 1 else "")


def _capped(text: str) -> str:
    return text if not text.startswith(("has ", "cannot ", "holds ", "is a ")) else f"refused: it {text}"


def _outcomes(file: Path, base: Path) -> Iterator[str]:
    if file.name == "DICOMDIR":
        yield "passed over: index of a medium"
        return
    if not is_dicom(file):
        yield "no DICOM"
        return
    yield from _of_index(index_files((file,)), file, base)


def _of_index(found: DicomIndex, path: Path, base: Path) -> Iterator[str]:
    for kind in found.others.values():
        yield f"refused: no image ({kind})"
    for error in found.unreadable.values():
        yield _refused(error, base)
    for image in found.images:
        try:
            yield _read(read_dicom_image(image, path, index=0 if image.kind == "film" else None), image.kind)
        except StudyError as error:
            yield _refused(error, base)


def _refused(error: StudyError, base: Path) -> str:
    reason = error.problem.replace(f"{base}/", "")
    return "refused: " + re.sub(r"\s+", " ", reason).replace("|", "/").replace("<", "").replace(">", "")


def _read(image: Image, kind: str) -> str:
    shape = "×".join(map(str, image.shape))
    colour = {1: "grey", 3: "RGB"}.get(len(image.array), f"{len(image.array)} channels")
    what = {"stack": "volume" if image.dimensions == 3 else "positioned image", "picture": "picture", "film": "film"}
    parts = [f"{what[kind]} {shape} {colour} {image.array.dtype}", image.modality, image.units, *image.notes]
    return "; ".join(part for part in parts if part)


def _series_table(shared: Path, names: Sequence[str]) -> str:
    rows = ["| folder | becomes |\n", "| --- | --- |\n"]
    for name in names:
        for image in index_folder(shared / name).images:
            folder = image.files[0].parent.relative_to(shared).as_posix()
            rows.append(f"| `{folder}` | {_read(read_dicom_image(image, shared / name), image.kind)} |\n")
    return "".join(rows)


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    PAGE.write_text(page(Path(sys.argv[1])))
