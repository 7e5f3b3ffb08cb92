"""How long a series of 384 slices takes from files to voxels with their affine, beside three peers, and what the
decoding processes cost.

    python benchmarks/dicom_read.py [SLICES]

dcm2niix is a command of Debian's package of the same name; it writes a NIfTI file, here into memory (/dev/shm).
"""

from __future__ import annotations

import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from _dicom_files import ct_series
from _table import Row, write_table

TIMES = 5


class _Kept:
    """Voxels (slices, rows, columns) that are a view of another object, which has to live as long."""

    def __init__(self, view: Any, owner: Any) -> None:
        self._view, self._owner = view, owner

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        return np.array(np.transpose(self._view), dtype=dtype)


def _osler(folder: Path) -> Any:
    from osler.studies.formats import dicom_index, read_image

    dicom_index._indexed.cache_clear()
    return read_image(folder).array[0]


def _pydicom(folder: Path) -> Any:
    """The way of pydicom's documentation: read, sort by position, stack, rescale."""
    import pydicom

    slices = sorted(map(pydicom.dcmread, folder.iterdir()), key=lambda one: float(one.ImagePositionPatient[2]))
    stack = np.stack([one.pixel_array for one in slices])
    values = stack * np.float32(slices[0].RescaleSlope) + np.float32(slices[0].RescaleIntercept)
    return np.transpose(values)


def _simpleitk(folder: Path) -> Any:
    import SimpleITK

    reader = SimpleITK.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    image = reader.Execute()
    return _Kept(SimpleITK.GetArrayViewFromImage(image), image)


def _dcm2niix(folder: Path) -> Any:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as out:
        command = ["dcm2niix", "-z", "n", "-b", "n", "-o", out, "-f", "x", str(folder)]
        subprocess.run(command, check=True, capture_output=True)
    return None


def _seconds(read: Callable[[Path], Any], folder: Path, expected: Any) -> tuple[float, float, float]:
    """Milliseconds: median, fastest and slowest of several, after one that warms the file cache and is checked."""
    found = read(folder)
    if found is not None:
        np.testing.assert_allclose(found, expected, rtol=1e-5)
    taken = []
    for _ in range(TIMES):
        begin = time.perf_counter()
        read(folder)
        taken.append((time.perf_counter() - begin) * 1000)
    return statistics.median(taken), min(taken), max(taken)


def _against_peers(slices: int) -> list[Row]:
    folder = ct_series(slices)
    expected = _osler(folder)
    ours = _seconds(_osler, folder, expected)
    peers: dict[str, Callable[[Path], Any]] = {"pydicom + NumPy": _pydicom, "SimpleITK": _simpleitk}
    if shutil.which("dcm2niix"):
        peers["dcm2niix, which also writes"] = _dcm2niix
    rows = []
    for name, read in peers.items():
        theirs = _seconds(read, folder, expected)
        what = f"{slices} slices of 512×512, against {name}"
        rows.append(Row(what, *ours, f"median of {TIMES}", "faster", *theirs, unit="ms"))
    return rows


def _cost_of_processes(slices: int) -> list[Row]:
    """The same frames decoded by imagecodecs in this process, as the peer."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import generate_frames

    from osler.studies.formats._dicom_codec import Frame, decode_frame

    rows = []
    for codec, kind, plain in (
        ("jpeg2000", "jpeg2k", imagecodecs.jpeg2k_decode),
        ("jpegls", "jpegls", imagecodecs.jpegls_decode),
    ):
        files = sorted(ct_series(slices, codec).iterdir())
        frames = [next(generate_frames(pydicom.dcmread(file).PixelData, number_of_frames=1)) for file in files]
        described = Frame(kind, 512, 512, 1, 16)
        decode_frame(frames[0], described)
        taken: list[list[float]] = [[], []]
        for data in frames:
            begin = time.perf_counter()
            decode_frame(data, described)
            middle = time.perf_counter()
            plain(data)
            taken[0].append((middle - begin) * 1000)
            taken[1].append((time.perf_counter() - middle) * 1000)
        ours, theirs = (statistics.median(times) for times in taken)
        rows.append(Row(f"one frame of {codec}, in a process against in place", ours, peer=theirs, unit="ms"))
    return rows


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 384
    write_table(
        "dicom_read",
        f"A CT series of {count} slices from files to voxels",
        [*_against_peers(count), *_cost_of_processes(min(count, 64))],
        peer="peer",
        notes=["File cache warm; fastest to slowest in brackets. All readers give the same values."],
    )
