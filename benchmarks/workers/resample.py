"""LIBRARY VOLUME SHAPE RESULT: seconds to resample a .npy volume with cubic splines, into another .npy."""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def osler(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Banded matrices, axis by axis."""
    from osler.studies.resample import resample

    return resample(volume[None], shape, order=3, antialias=False)[0]


def scikit_image(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """What nnU-Net resamples with."""
    from skimage.transform import resize

    return np.asarray(resize(volume, shape, 3, mode="edge", anti_aliasing=False, preserve_range=True))


def simple_itk(volume: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The image's outer faces stay where they are."""
    import SimpleITK as sitk

    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    spacing = [before / after for before, after in zip(volume.shape[::-1], shape[::-1], strict=True)]
    origin = [0.5 * step - 0.5 for step in spacing]
    image = sitk.GetImageFromArray(volume)
    found = sitk.Resample(
        image, shape[::-1], sitk.Transform(), sitk.sitkBSpline, origin, spacing, image.GetDirection(), 0.0,
        sitk.sitkFloat32,
    )  # fmt: skip
    return sitk.GetArrayFromImage(found)


WAYS = {"Osler": osler, "scikit-image": scikit_image, "SimpleITK": simple_itk}

if __name__ == "__main__":
    name, source, sides, target = sys.argv[1:]
    given, wanted = np.load(source), tuple(map(int, sides.split(",")))
    WAYS[name](given[:16, :16, :16], (8, 8, 8))  # libraries load what they need
    begun = time.perf_counter()
    result = WAYS[name](given, wanted)
    seconds = time.perf_counter() - begun
    np.save(target, result.astype(np.float32))
    print(json.dumps({"seconds": seconds}))
