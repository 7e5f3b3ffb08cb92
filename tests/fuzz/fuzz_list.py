"""The one list of what is fuzzed: every format of ``osler.studies.formats``, trees of studies, layouts of data sets."""

from __future__ import annotations

from fuzz_dicom import DICOM, RTSTRUCT, SEG, WAVEFORM
from fuzz_pictures import CLIP, NPZ, RASTER, SLIDE
from fuzz_signals import EDF, WFDB
from fuzz_targets import Target
from fuzz_trees import LAYOUTS, STUDIES
from fuzz_volumes import METAIMAGE, NIFTI, NRRD

__all__ = ["TARGETS"]

TARGETS: dict[str, Target] = {
    one.name: one
    for one in (
        NIFTI, NRRD, METAIMAGE, SLIDE, RASTER, NPZ, CLIP, DICOM, SEG, RTSTRUCT, WAVEFORM, WFDB, EDF, STUDIES, LAYOUTS,
    )
}  # fmt: skip
