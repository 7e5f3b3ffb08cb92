"""DICOM images, labels and waveforms: damage to elements, sequences, syntaxes and frames."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz_damage import NASTY_FLOATS, NASTY_INTS, Damage, nasty_text, zeros
from fuzz_dicom_seeds import dicom_seeds, rtstruct_seeds, seg_seeds, waveform_seeds
from fuzz_judge import Call
from fuzz_targets import Target, image_calls

from osler.studies.formats import read_image, read_labels
from osler.studies.image import Image

__all__ = ["DICOM", "RTSTRUCT", "SEG", "WAVEFORM"]

_SYNTAXES = (
    "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.5",
    "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.4.51", "1.2.840.10008.1.2.4.57", "1.2.840.10008.1.2.4.70",
    "1.2.840.10008.1.2.4.80", "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.201", "1.2.840.10008.1.2.4.110",
    "1.2.840.10008.1.2.8.1", "1.2.840.10008.1.2.4.102", "1.2.840.10008.1.2.4.94", "1.2.3", "x", "",
)  # fmt: skip


def _waveform_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import dicom_waveform, read_signals

    yield "read_image", lambda: read_image(path)
    yield "read_signals", lambda: read_signals(path)
    yield "dicom_waveform.read_signals", lambda: dicom_waveform.read_signals(path)
    yield "read_annotations", lambda: dicom_waveform.read_annotations(path)
    yield "read_identifiers", lambda: dicom_waveform.read_identifiers(path)


def _dicom_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import dicom
    from osler.studies.formats.dicom_index import index_folder
    from osler.studies.quality.tags import read_tags

    folder = path if path.is_dir() else path.parent
    yield from image_calls(path)
    yield "read_identifiers", lambda: dicom.read_identifiers(path)
    yield "index_folder", lambda: index_folder(folder)
    yield "read_dicom_image", lambda: [dicom.read_dicom_image(one, path) for one in index_folder(folder).images[:3]]
    yield "read_tags", lambda: read_tags(path)


def _seg_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import dicom_seg

    onto = cache(read_image)
    yield from _label_calls(dicom_seg, path, "organ", onto)
    yield "read_fractions", lambda: dicom_seg.read_fractions(path, onto=onto(path.parent / "series"))


def _rtstruct_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import dicom_rtstruct

    return _label_calls(dicom_rtstruct, path, "a", cache(read_image))


def _label_calls(reader: Any, path: Path, key: str, onto: Callable[[Path], Image]) -> Iterator[tuple[str, Call]]:
    series = path.parent / "series"
    yield "read_image", lambda: read_image(path)
    yield "read_labels", lambda: read_labels(path)
    yield "read_structures", lambda: reader.read_structures(path)
    yield "numbers_in", lambda: reader.numbers_in(path)
    yield "read_masks", lambda: reader.read_masks(path, onto=onto(series))(1)
    yield "read_labels(onto)", lambda: read_labels(path, onto=onto(series))
    yield "read_labels(key)", lambda: read_labels(path, key=key, onto=onto(series))


_PIXEL_KEYWORDS: tuple[tuple[str, Sequence[Any]], ...] = (
    ("Rows", (0, 1, 65535, 4, 50_000)),
    ("Columns", (0, 1, 65535, 7, 50_000)),
    ("BitsAllocated", (0, 1, 3, 8, 12, 32, 64, 65535)),
    ("BitsStored", (0, 1, 17, 64, 65535)),
    ("SamplesPerPixel", (0, 2, 3, 4, 65535)),
    ("PixelRepresentation", (1, 2, 65535)),
    ("PlanarConfiguration", (0, 1, 2)),
    ("NumberOfFrames", ("0", "-1", "2", "1000000000", "99999999999999999999", "1.5", "nan", "")),
    ("PhotometricInterpretation", ("RGB", "YBR_FULL_422", "PALETTE COLOR", "MONOCHROME1", "YBR_ICT", "ARGB", "x", "")),
    (
        "PixelSpacing",
        ("0\\0", "-1\\-1", "nan\\nan", "inf\\1", "1", "x\\y", "1e-300\\1e-300", "1e300\\1e300", "1\\1\\1", ""),
    ),
    ("ImagePositionPatient", ("0\\0", "nan\\0\\0", "inf\\0\\0", "1e300\\1e300\\1e300", "x", "", "1e16\\0\\0")),
    (
        "ImageOrientationPatient",
        ("0\\0\\0\\0\\0\\0", "1\\0\\0\\1\\0\\0", "nan\\0\\0\\0\\1\\0", "1\\0\\0", "2\\0\\0\\0\\2\\0"),
    ),
    ("SliceThickness", ("0", "-3", "nan", "inf", "1e-300", "1e300", "x")),
    ("RescaleSlope", ("0", "nan", "inf", "-1", "1e300", "1e-300", "x", "1\\2")),
    ("RescaleIntercept", ("nan", "1e300", "-1e308", "99999999999", "x")),
    ("WindowWidth", ("0", "-1", "nan", "inf", "1e300", "1\\2")),
    ("WindowCenter", ("nan", "inf", "1e300", "x")),
    ("GridFrameOffsetVector", ("0", "0\\nan", "0\\1\\1", "1\\2\\3", "x", "\\".join("1" * 5000))),
    ("DoseGridScaling", ("0", "nan", "1e300")),
    ("SeriesInstanceUID", ("", "x" * 70, "1.2\\3")),
    ("SeriesNumber", ("99999999999999999999", "1e400", "x", "1.5")),
    (
        "SOPClassUID",
        ("", "1.2", "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.481.3", "1.2.840.10008.1.3.10"),
    ),
    ("Modality", ("", "PT", "US", "SEG", "RTDOSE", "CT\\MR")),
    ("PatientWeight", ("0", "nan", "1e-300", "1e300")),
    ("RadionuclideHalfLife", ("0", "1e-300", "nan", "inf")),
    ("RadionuclideTotalDose", ("nan", "inf", "1e-300")),
    ("SeriesTime", ("999999", "x", "12", "120000.999999999")),
    ("LUTDescriptor", (b"", bytes(6), b"\xff" * 6, b"\x01\0\0\0\x10\0")),
    ("LUTData", (b"", b"\0", bytes(4))),
    ("RedPaletteColorLookupTableDescriptor", (b"", bytes(6), b"\xff" * 6, b"\0\0\0\0\x20\0")),
    ("GreenPaletteColorLookupTableData", (b"", b"\0\0")),
    ("TotalPixelMatrixColumns", (0, 2**32 - 1, 100_000)),
    ("SegmentNumber", (0, 65535, 1)),
    ("ReferencedSegmentNumber", (0, 65535, 9)),
    ("MaximumFractionalValue", (0, 65535)),
    (
        "ContourData",
        ("", "1", "nan\\nan\\nan", "1e300\\1e300\\1e300", "x\\y\\z", "\\".join("0" * 30_000), "0\\0\\0\\0\\0\\0"),
    ),
    ("NumberOfContourPoints", ("0", "-1", "1000000000")),
    ("ContourGeometricType", ("", "POINT", "CLOSEDPLANAR_XOR", "x")),
    ("NumberOfWaveformSamples", (0, 2**32 - 1, 21, 124_000_000)),
    ("NumberOfWaveformChannels", (0, 1, 65535)),
    ("SamplingFrequency", ("0", "nan", "1e300", "1e-300", "x")),
    ("WaveformBitsAllocated", (0, 8, 32, 65535)),
    ("WaveformSampleInterpretation", ("", "UB", "MB", "SL")),
    ("ChannelSensitivity", ("nan", "1e300", "x", "0")),
    ("ChannelSampleSkew", ("99999999999", "-19.5", "nan", "x")),
    ("ReferencedSamplePositions", (0, 2**32 - 1)),
    ("ROINumber", ("0", "-1", "2147483648", "99999999999999999999", "x", "1")),
)
_SHORT = b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()


def _edited(name: str, change: Callable[[Any, Random], str]) -> Damage:
    """A damage to the data set as pydicom reads it, written without its checks."""

    def damage(path: Path, rng: Random) -> str:
        import pydicom

        data = pydicom.dcmread(path, force=True)
        told = change(data, rng)
        pydicom.dcmwrite(path, data, enforce_file_format=False)
        return f"{name} {told}"

    damage.__name__ = name
    return damage


def _places(data: Any) -> list[tuple[Any, Any]]:
    """Every element with the data set that it stands in, those of nested items too."""
    found = []
    for element in data:
        if element.VR == "SQ":
            for item in element.value or []:
                found += _places(item)
        found.append((data, element.tag))
    return found


def _raw(vr: str, value: Any, rng: Random) -> bytes:
    """The bytes of a value, right for the VR or not."""
    if isinstance(value, bytes):
        return value
    if isinstance(value, int):
        form = {"US": "<H", "SS": "<H", "UL": "<I", "SL": "<I"}.get(vr)
        return struct.pack(form, value % (1 << 8 * struct.calcsize(form))) if form else str(value).encode()
    return str(value).encode("latin-1", "replace")


def _put(place: Any, tag: Any, vr: str, raw: bytes) -> None:
    from pydicom.dataelem import RawDataElement

    raw += b"\0" * (len(raw) % 2)
    place._dict[tag] = RawDataElement(tag, vr, len(raw), raw, 0, False, True)


def _keyword_set(data: Any, rng: Random) -> str:
    """An attribute that readers rely on, wherever it stands, or put in at the top."""
    from pydicom.datadict import dictionary_VR, tag_for_keyword
    from pydicom.tag import Tag

    there = {element.keyword for element in data.iterall()}
    chosen = [one for one in _PIXEL_KEYWORDS if one[0] in there] if rng.random() < 0.85 else list(_PIXEL_KEYWORDS)
    keyword, values = rng.choice(chosen)
    value, tag = rng.choice(values), Tag(tag_for_keyword(keyword) or 0)
    vr = dictionary_VR(tag)
    where = [place for place, other in _places(data) if other == tag] or [data]
    _put(rng.choice(where), tag, "US" if vr == "US or SS" else vr[:2], _raw(vr[:2], value, rng))
    return f"{keyword} = {str(value)[:30]!r}"


def _value_set(data: Any, rng: Random) -> str:
    """Any element with a nasty value."""
    place, tag = rng.choice(_places(data))
    vr = place[tag].VR[:2]
    if vr in ("US", "SS", "UL", "SL"):
        raw = _raw(vr, rng.choice(NASTY_INTS), rng) * rng.choice((1, 1, 3))
    elif vr in ("FD", "FL"):
        with np.errstate(over="ignore"):
            raw = np.array(rng.choice(NASTY_FLOATS), "<f8" if vr == "FD" else "<f4").tobytes()
    elif vr in ("OB", "OW", "UN", "SQ"):
        raw = rng.choice((b"", bytes(2), b"\xff" * 100, rng.randbytes(40)))
    else:
        raw = nasty_text(rng).encode("utf-8", "replace")[:60_000]
    _put(place, tag, "UN" if vr == "SQ" else vr, raw)
    return f"{tag} = {raw[:30]!r}"


def _vr_changed(data: Any, rng: Random) -> str:
    place, tag = rng.choice(_places(data))
    element = place.get_item(tag)
    raw = element.value if isinstance(element.value, bytes) else rng.randbytes(8)
    vr = rng.choice((*_SHORT, b"OB", b"OW", b"UN", b"UT", b"SQ")).decode()
    _put(place, tag, vr, raw)
    return f"{tag} as {vr}"


def _element_lost(data: Any, rng: Random) -> str:
    place, tag = rng.choice(_places(data))
    del place._dict[tag]
    return str(tag)


def _sequence_emptied(data: Any, rng: Random) -> str:
    from pydicom.dataset import Dataset

    sequences = [place[tag] for place, tag in _places(data) if place[tag].VR == "SQ"]
    if not sequences:
        return "none"
    one = rng.choice(sequences)
    one.value = rng.choice(([], [Dataset()], list(one.value) * 2, list(one.value)[:-1]))
    return f"{one.tag} with {len(one.value)} items"


def _syntax_swapped(data: Any, rng: Random) -> str:
    data.file_meta.TransferSyntaxUID = rng.choice(_SYNTAXES)
    return str(data.file_meta.TransferSyntaxUID)


def _syntax_in_place(path: Path, rng: Random) -> str:
    """Only the UID is another; the data set stays as it was written."""
    data, other = path.read_bytes(), rng.choice(_SYNTAXES).encode()
    place = data.find(b"1.2.840.10008.1.2", data.find(b"\x02\0\x10\0UI") + 1)
    if place < 0:
        return "no syntax"
    length = struct.unpack_from("<H", data, place - 2)[0]
    path.write_bytes(data[:place] + other.ljust(length, b"\0")[:length] + data[place + length :])
    return f"syntax {other.decode()} in name only"


def _length_set(path: Path, rng: Random) -> str:
    """The length of an element, item or fragment: undefined, odd, absurd."""
    data = path.read_bytes()
    starts = [n for n in range(132, len(data) - 12, 2) if data[n + 4 : n + 6] in _SHORT][:200]
    longs = [n for n in range(132, len(data) - 12, 2) if data[n + 4 : n + 6] in (b"OB", b"OW", b"SQ", b"UN", b"UT")][
        :50
    ]
    items = [
        n for n in range(132, len(data) - 8, 2) if data[n : n + 3] == b"\xfe\xff\x00" or data[n : n + 2] == b"\xfe\xff"
    ]
    length = rng.choice((0, 1, 3, 0xFFFE, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 2, 2**32 - 1))
    kinds = [(starts, 6, "<H"), (longs, 8, "<I"), (items, 4, "<I")]
    places, shift, form = rng.choice([kind for kind in kinds if kind[0]] or [([0], 0, "<I")])
    place = rng.choice(places) + shift
    raw = struct.pack(form, length % (1 << 8 * struct.calcsize(form)))
    path.write_bytes(data[:place] + raw + data[place + len(raw) :])
    return f"length at {place} set to {length}"


@lru_cache(maxsize=16)
def _nested(depth: int, *, defined: bool, tag: bytes) -> bytes:
    """A sequence within an item within a sequence ..."""
    inner = b""
    for _ in range(depth):
        if defined:
            item = b"\xfe\xff\x00\xe0" + struct.pack("<I", len(inner)) + inner
            inner = tag + b"SQ\0\0" + struct.pack("<I", len(item)) + item
        else:
            item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + inner + b"\xfe\xff\x0d\xe0" + bytes(4)
            inner = tag + b"SQ\0\0\xff\xff\xff\xff" + item + b"\xfe\xff\xdd\xe0" + bytes(4)
    return inner


def _deeply_nested(path: Path, rng: Random) -> str:
    """Sequences 1,000 deep and deeper, before the pixels."""
    data = path.read_bytes()
    depth, defined = rng.choice((30, 100, 1000, 5000)), rng.random() < 0.5
    tag = rng.choice(
        (b"\x28\0\x10\x30", b"\x08\0\x40\x11", b"\x00\x52\x29\x92", b"\x00\x52\x30\x92", b"\x09\0\x10\x10")
    )
    place = data.find(b"\xe0\x7f\x10\x00")
    place = len(data) if place < 0 else place
    path.write_bytes(data[:place] + _nested(depth, defined=defined, tag=tag) + data[place:])
    return f"sequences {depth} deep"


def _encapsulated(data: Any, rng: Random) -> str:
    """Compressed frames that are damaged, missing, empty or too many."""
    from pydicom.encaps import encapsulate

    pixels = bytes(data.PixelData)
    ways = (
        b"", pixels[: len(pixels) // 2], b"\xfe\xff\x00\xe0\xff\xff\xff\xff" + pixels, b"\xfe\xff\xdd\xe0" + bytes(4),
        encapsulate([rng.randbytes(40)] * rng.choice((1, 3, 1000)), has_bot=rng.random() < 0.5),
        encapsulate([b"\xff\xd8\xff\xc0\x00\x0b\x08\xff\xff\xff\xff\x01\x01\x11\x00\xff\xd9"]),
        encapsulate([_j2k_of_size(rng.choice((65535, 2**31 - 1)))]),
        encapsulate([zeros("deflate", 1 << 28)]),
    )  # fmt: skip
    data.PixelData = rng.choice(ways)
    data["PixelData"].VR, data["PixelData"].is_undefined_length = "OB", True
    data.file_meta.TransferSyntaxUID = rng.choice(_SYNTAXES[4:14])
    return f"{len(data.PixelData)} bytes as {data.file_meta.TransferSyntaxUID}"


def _j2k_of_size(side: int) -> bytes:
    """The head of a JPEG 2000 stream that announces a square."""
    size = struct.pack(">HIIIIIIIIHBBB", 0, side, side, 0, 0, side, side, 0, 0, 1, 7, 1, 1)
    return (
        b"\xff\x4f\xff\x51"
        + struct.pack(">H", 41)
        + size
        + b"\xff\x52\x00\x0c\x00\x00\x00\x01\x00\x05\x04\x04\x00\x01"
        + b"\xff\xd9"
    )


def _codestream(path: Path, rng: Random) -> str:
    """Bits of the pixels only: codecs get what the header still says is sound."""
    data = bytearray(path.read_bytes())
    start = data.rfind(b"\xe0\x7f\x10\x00")
    for _ in range(rng.choice((1, 2, 8))):
        if 0 <= start < len(data) - 24:
            data[rng.randrange(start + 12, min(len(data), start + rng.choice((80, 400, 100_000))))] = rng.randrange(256)
    path.write_bytes(bytes(data))
    return "pixels damaged"


def _deflated_bomb(path: Path, rng: Random) -> str:
    size = rng.choice((100, 250, 4000))
    meta = b"\x02\0\x10\0UI" + struct.pack("<H", 22) + b"1.2.840.10008.1.2.1.99"
    head = bytes(128) + b"DICM\x02\0\0\0UL\x04\0" + struct.pack("<I", len(meta)) + meta
    body = b"\x08\0\x16\0UI\x1a\x001.2.840.10008.5.1.4.1.1.2\0" + b"\x28\0\x10\0US\2\0\0\x40\x28\0\x11\0US\2\0\0\x40"
    body += b"\xe0\x7f\x10\0OW\0\0" + struct.pack("<I", min(size << 20, 2**32 - 2))
    path.write_bytes(head + zeros("deflate", size << 20, body))
    return f"a deflated bomb of {size} MiB"


_DAMAGES: tuple[Damage, ...] = (
    *[_edited("set", _keyword_set)] * 6,
    *[_edited("set", _value_set)] * 3,
    _edited("kind", _vr_changed),
    _edited("lost", _element_lost),
    _edited("lost", _element_lost),
    _edited("sequence", _sequence_emptied),
    _edited("syntax", _syntax_swapped),
    _edited("frames", _encapsulated),
    _syntax_in_place,
    _length_set,
    _length_set,
    _deeply_nested,
    _codestream,
    _codestream,
)

DICOM = Target("dicom", dicom_seeds, _DAMAGES, _dicom_calls, bombs=(_deflated_bomb,))
WAVEFORM = Target("dicom-waveform", waveform_seeds, _DAMAGES, _waveform_calls, bombs=(_deflated_bomb,))
SEG = Target("dicom-seg", seg_seeds, _DAMAGES, _seg_calls, bombs=(_deflated_bomb,))
RTSTRUCT = Target("dicom-rtstruct", rtstruct_seeds, _DAMAGES, _rtstruct_calls, bombs=(_deflated_bomb,))
