"""NIfTI, NRRD and MetaImage: seeds, and damage to the fields of their headers."""

from __future__ import annotations

import gzip
import re
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import numpy as np
from fuzz_damage import NASTY_FLOATS, NASTY_INTS, Damage, nasty_text, zeros
from fuzz_targets import Target, image_calls

from osler.studies.formats import write_image
from osler.studies.image import Image

__all__ = ["METAIMAGE", "NIFTI", "NRRD"]

_AFFINE = np.array([[-0.8, 0.1, 0, 10], [0.1, 0.8, 0, -20], [0, 0, 2.5, 30], [0, 0, 0, 1.0]])


def _volume(channels: int = 1, kind: str = "int16") -> Image:
    rng = np.random.default_rng(channels)
    return Image(rng.integers(0, 200, (channels, 7, 6, 5)).astype(kind), _AFFINE)


def _nifti_seeds(folder: Path) -> Sequence[Path]:
    import nibabel

    for name in ("plain", "packed", "several", "second", "pair", "scaled", "colour"):
        (folder / name).mkdir(parents=True)
    write_image(_volume(), folder / "plain/a.nii")
    write_image(_volume(), folder / "packed/a.nii.gz")
    write_image(_volume(3, "float32"), folder / "several/a.nii.gz")
    voxels = np.arange(210, dtype=np.int16).reshape(7, 6, 5)
    nibabel.Nifti2Image(voxels, _AFFINE).to_filename(folder / "second/a.nii")
    nibabel.Nifti1Pair(voxels, _AFFINE).to_filename(folder / "pair/a.hdr")
    scaled = nibabel.Nifti1Image(voxels.astype(np.uint8), _AFFINE)
    scaled.header.set_slope_inter(2.5, -7)
    scaled.to_filename(folder / "scaled/a.nii.gz")
    colours = np.zeros((7, 6, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.Nifti1Image(colours, _AFFINE).to_filename(folder / "colour/a.nii")
    return [
        next(one for one in sorted(sub.iterdir()) if one.suffix != ".img") for sub in sorted(folder.iterdir())
    ]  # fmt: skip


# Offset, struct letter and count of the fields that say something, in NIfTI-1 and NIfTI-2.
_FIELDS: dict[int, tuple[tuple[int, str, int], ...]] = {
    348: (
        (0, "i", 1), (40, "h", 8), (68, "h", 1), (70, "h", 1), (72, "h", 1), (76, "f", 8), (108, "f", 1), (112, "f", 2),
        (123, "B", 1), (136, "f", 1), (252, "h", 2), (256, "f", 3), (268, "f", 3), (280, "f", 12), (344, "B", 4),
    ),
    540: (
        (0, "i", 1), (4, "B", 8), (12, "h", 1), (14, "h", 1), (16, "q", 8), (104, "d", 8), (168, "q", 1), (176, "d", 2),
        (216, "d", 1), (344, "i", 2), (352, "d", 3), (376, "d", 3), (400, "d", 12), (500, "i", 1), (504, "i", 1),
    ),
}  # fmt: skip
_DATATYPES = (0, 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 768, 1024, 1280, 1536, 1792, 2048, 2304, -1, 9999)


def _unpacked(path: Path, change: Callable[[bytearray], None]) -> None:
    """Change the bytes behind the compression, so that the damage is in the header and not in the checksum."""
    data = path.read_bytes()
    packed = data[:2] == b"\x1f\x8b"
    content = bytearray(gzip.decompress(data) if packed else data)
    change(content)
    path.write_bytes(gzip.compress(bytes(content), 1, mtime=0) if packed else bytes(content))


def _put(content: bytearray, offset: int, letter: str, number: float) -> None:
    size = struct.calcsize("<" + letter)
    if letter in "fd":
        with np.errstate(over="ignore"):
            raw = np.array(number, f"<f{size}").tobytes()
    else:
        raw = struct.pack("<" + letter.upper(), int(number) % (1 << 8 * size))
    if offset + size <= len(content):
        content[offset : offset + size] = raw


def _nifti_field(path: Path, rng: Random) -> str:
    told = []

    def change(content: bytearray) -> None:
        size = 540 if content[:4] == struct.pack("<i", 540) else 348
        start, letter, count = rng.choice(_FIELDS[size])
        place = start + rng.randrange(count) * struct.calcsize("<" + letter)
        value = rng.choice(NASTY_FLOATS if letter in "fd" else NASTY_INTS)
        _put(content, place, letter, value)
        told.append(f"byte {place} set to {value}")

    _unpacked(path, change)
    return "header " + ", ".join(told)


def _nifti_sizes(path: Path, rng: Random) -> str:
    """Several axes at once, so that their product is absurd or passes around."""
    sizes = [rng.choice((1, 2, 255, 1024, 4096, 32767, 65535, 2**31 - 1, 2**40)) for _ in range(rng.randrange(1, 8))]

    def change(content: bytearray) -> None:
        second = content[:4] == struct.pack("<i", 540)
        start, letter = (16, "q") if second else (40, "h")
        for axis, size in enumerate([len(sizes), *sizes]):
            _put(content, start + axis * struct.calcsize("<" + letter), letter, size)
        _put(content, 12 if second else 70, "h", rng.choice(_DATATYPES))

    _unpacked(path, change)
    return f"of {sizes} voxels"


def _nifti_datatype(path: Path, rng: Random) -> str:
    code = rng.choice(_DATATYPES)
    _unpacked(path, lambda content: _put(content, 12 if content[:2] == b"\x1c\x02" else 70, "h", code))
    return f"of datatype {code}"


def _nifti_bomb(path: Path, rng: Random) -> str:
    """A header that announces what a stream of zeros really holds."""
    side, code = rng.choice(((200, 2), (400, 2), (512, 2), (780, 2), (300, 64), (1500, 2)))
    head = np.zeros(88, np.float32).tobytes()
    content = bytearray(head)
    for offset, letter, value in ((0, "i", 348), (40, "h", 3), (70, "h", code), (108, "f", 352), (252, "h", 1)):
        _put(content, offset, letter, value)
    for axis in range(3):
        _put(content, 42 + 2 * axis, "h", side)
        _put(content, 80 + 4 * axis, "f", 1.0)
    if rng.random() < 0.5:
        _put(content, 112, "f", 2.0)
    content[344:348] = b"n+1\0"
    path.write_bytes(zeros("gzip", 352 + side**3 * (8 if code == 64 else 1), bytes(content)))
    return f"a bomb of {side} cubed voxels"


def _line_damage(name: str, change: Callable[[list[str], Random], list[str]]) -> Damage:
    """A damage to the lines of a text header that stands before binary data."""

    def damage(path: Path, rng: Random) -> str:
        data = path.read_bytes()
        match = re.search(rb"\n\r?\n|ElementDataFile[^\n]*\n", data)
        end = match.end() if match else len(data)
        lines = data[:end].decode("latin-1").splitlines()
        before = set(lines)
        changed = change(lines, rng) if lines else lines
        path.write_bytes("\n".join(changed).encode("utf-8", "surrogateescape") + b"\n" + data[end:])
        new = next((line[:60] for line in changed if line not in before), "")
        return f"{name} {new!r}"

    return damage


def _value_set(lines: list[str], rng: Random) -> list[str]:
    place = rng.randrange(len(lines))
    name, mark, value = re.match(r"([^:=]*)(:=|: |= ?|)(.*)", lines[place]).groups()  # type: ignore[union-attr]
    tokens = value.split()
    if tokens and rng.random() < 0.7:
        tokens[rng.randrange(len(tokens))] = nasty_text(rng)
        return [*lines[:place], f"{name}{mark}{' '.join(tokens)}", *lines[place + 1 :]]
    return [*lines[:place], f"{name}{mark}{nasty_text(rng)}", *lines[place + 1 :]]


def _line_lost(lines: list[str], rng: Random) -> list[str]:
    place = rng.randrange(len(lines))
    return lines[:place] + lines[place + 1 :]


def _line_twice(lines: list[str], rng: Random) -> list[str]:
    place = rng.randrange(len(lines))
    return [*lines[:place], *[lines[place]] * rng.choice((2, 3, 20_000)), *lines[place + 1 :]]


def _set_fields(choices: Sequence[tuple[str, Sequence[str]]]) -> Callable[[list[str], Random], list[str]]:
    """Fields with values that are hard on a reader; replaced where they stand, put in where they do not."""

    def change(lines: list[str], rng: Random) -> list[str]:
        name, values = rng.choice(choices)
        new = f"{name}{rng.choice(values)}"
        kept = [line for line in lines if not line.startswith(name)]
        at = next((n for n, line in enumerate(lines) if line.startswith(name)), min(1, len(kept)))
        return [*kept[:at], new, *kept[at:]]

    return change


_TEXT = (
    _line_damage("value", _value_set),
    _line_damage("value", _value_set),
    _line_damage("line lost", _line_lost),
    _line_damage("line twice", _line_twice),
)
_SIZES = (
    "65535 65535 65535",
    "1000000000 1 1",
    "0 0 0",
    "-7 -6 -5",
    "99999999999999999999 9 9",
    "1 1 1",
    "7 6 6",
    "7 30",
)
_DATA_FILES = (
    "a.nhdr", "a.mhd", "a.nrrd", "/dev/zero", "/etc/passwd", "../a.raw", "absent.raw", ".", "", "%d 0 1000000000 1",
    "a%0999999999d 0 1 1", "%s%d 0 1 1", "a%d 1 -1 -1", "LIST", "LIST 3", "a.raw a.raw", "\0", "x" * 5000,
)  # fmt: skip
_NRRD_FIELDS = (
    ("sizes: ", _SIZES),
    ("dimension: ", ("0", "1", "2", "4", "17", "-3", "99999999999")),
    ("type: ", ("double", "block", "uint64", "float16", "unsigned char", "")),
    ("encoding: ", ("raw", "gzip", "bzip2", "text", "hex", "zrl", "")),
    ("space: ", ("right-anterior-superior", "scanner-xyz", "mars", "")),
    ("space directions: ", ("(0,0,0) (0,0,0) (0,0,0)", "(nan,0,0) (0,1,0) (0,0,1)", "none none none",
                            "(1,0) (0,1) (1,1)",
                            "(1e300,0,0) (0,1e300,0) (0,0,1e300)", "(1e-200,0,0) (0,1,0) (0,0,1)", "(((",
                            "(1,0,0)" * 9000)),
    ("space origin: ", ("(nan,0,0)", "(1e308,1e308,1e308)", "none", "(1)", "()")),
    ("space units: ", ('"nm" "nm" "nm"', '"mile" "mm" "mm"', '"')),
    ("spacings: ", ("nan nan nan", "0 0 0", "1e-320 1 1", "-1 -1 -1")),
    ("kinds: ", ("list list list", "vector domain domain", "domain domain list", "complex domain domain", "x")),
    ("byte skip: ", ("-1", "-5", "1000000000000000000", "99", "x", "9" * 30)),
    ("line skip: ", ("-1", "1000000000", "3", "x")),
    ("data file: ", _DATA_FILES),
    ("endian: ", ("big", "middle", "")),
    ("measurement frame: ", ("(", "none")),
)  # fmt: skip
_META_FIELDS = (
    ("DimSize = ", _SIZES),
    ("NDims = ", ("0", "1", "2", "4", "99999999999", "-1")),
    ("ElementType = ", ("MET_DOUBLE", "MET_LONG_LONG", "MET_OTHER", "MET_UCHAR_ARRAY", "")),
    ("ElementNumberOfChannels = ", ("0", "3", "10000", "-1", "99999999999999999999")),
    ("CompressedData = ", ("True", "False", "perhaps")),
    ("CompressedDataSize = ", ("0", "-1", "999999999999")),
    ("BinaryData = ", ("False", "True")),
    ("BinaryDataByteOrderMSB = ", ("True",)),
    ("HeaderSize = ", ("-1", "1000000000000000000", "9" * 30, "7")),
    ("TransformMatrix = ", ("0 0 0 0 0 0 0 0 0", "nan 0 0 0 1 0 0 0 1", "1 1 1 1 1 1 1 1 1", "1 0 0",
    "1e300 0 0 0 1 0 0 0 1")),
    ("Offset = ", ("nan 0 0", "1e308 1e308 1e308", "1")),
    ("ElementSpacing = ", ("0 0 0", "nan 1 1", "-1 -1 -1", "1e-320 1 1", "1e300 1e300 1e300", "1 1")),
    ("DistanceUnits = ", ("um", "parsec")),
    ("ObjectType = ", ("Mesh", "")),
    ("ElementDataFile = ", _DATA_FILES),
)  # fmt: skip


def _nrrd_seeds(folder: Path) -> Sequence[Path]:
    for name in ("packed", "raw", "text", "detached", "bzip2", "frames"):
        (folder / name).mkdir(parents=True)
    write_image(_volume(), folder / "packed/a.nrrd")
    write_image(_volume(3), folder / "frames/a.nrrd")
    head = (
        "NRRD0004\ntype: uint8\ndimension: 3\nspace: left-posterior-superior\nsizes: 7 6 5\n"
        "space directions: (1,0,0) (0,1,0) (0,0,2)\nkinds: domain domain domain\nspace origin: (0,0,0)\nencoding: "
    )
    data = bytes(range(210))
    (folder / "raw/a.nrrd").write_bytes(f"{head}raw\n\n".encode() + data)
    (folder / "text/a.nrrd").write_bytes(f"{head}text\n\n".encode() + " ".join(map(str, data)).encode())
    (folder / "bzip2/a.nrrd").write_bytes(f"{head}bzip2\n\n".encode() + zeros("bzip2", 210))
    (folder / "detached/a.nhdr").write_bytes(f"{head}raw\ndata file: a.raw\n\n".encode())
    (folder / "detached/a.raw").write_bytes(data)
    return [next(one for one in sub.iterdir() if one.suffix != ".raw") for sub in sorted(folder.iterdir())]


def _meta_seeds(folder: Path) -> Sequence[Path]:
    for name in ("packed", "raw", "detached", "text", "colour"):
        (folder / name).mkdir(parents=True)
    write_image(_volume(), folder / "packed/a.mha")
    write_image(_volume(3), folder / "colour/a.mha")
    head = (
        "ObjectType = Image\nNDims = 3\nBinaryData = {}\nBinaryDataByteOrderMSB = False\n"
        "TransformMatrix = 1 0 0 0 1 0 0 0 1\n"
        "Offset = 0 0 0\nElementSpacing = 1 1 2\nDimSize = 7 6 5\nElementType = MET_UCHAR\nElementDataFile = "
    )
    data = bytes(range(210))
    (folder / "raw/a.mha").write_bytes(head.format("True").encode() + b"LOCAL\n" + data)
    (folder / "text/a.mha").write_bytes(head.format("False").encode() + b"LOCAL\n" + " ".join(map(str, data)).encode())
    (folder / "detached/a.mhd").write_bytes(head.format("True").encode() + b"a.raw\n")
    (folder / "detached/a.raw").write_bytes(data)
    return [next(one for one in sub.iterdir() if one.suffix != ".raw") for sub in sorted(folder.iterdir())]


_BOMB_SIDES = (200, 500, 780, 1500)


def _nrrd_bomb(path: Path, rng: Random) -> str:
    side, method = rng.choice(_BOMB_SIDES), rng.choice(("gzip", "bzip2"))
    head = (
        f"NRRD0004\ntype: uint8\ndimension: 3\nspace dimension: 3\nsizes: {side} {side} {side}\n"
        f"space directions: (1,0,0) (0,1,0) (0,0,1)\nbyte skip: {rng.choice((0, 10, 2_000_000_000))}\n"
        f"encoding: {method}\n\n"
    )
    path.write_bytes(head.encode() + zeros(method, rng.choice((side**3, 4 << 30))))
    return f"a {method} bomb of {side} cubed voxels"


def _meta_bomb(path: Path, rng: Random) -> str:
    side = rng.choice(_BOMB_SIDES)
    head = (
        f"ObjectType = Image\nNDims = 3\nBinaryData = True\nCompressedData = True\nDimSize = {side} {side} {side}\n"
        f"ElementType = {rng.choice(('MET_UCHAR', 'MET_DOUBLE'))}\nElementDataFile = LOCAL\n"
    )
    path.write_bytes(head.encode() + zeros("zlib", rng.choice((side**3, 4 << 30))))
    return f"a zlib bomb of {side} cubed voxels"


NIFTI = Target(
    "nifti",
    _nifti_seeds,
    (_nifti_field, _nifti_field, _nifti_field, _nifti_sizes, _nifti_datatype),
    image_calls,
    bombs=(_nifti_bomb,),
)
NRRD = Target(
    "nrrd",
    _nrrd_seeds,
    (*_TEXT, *[_line_damage("field", _set_fields(_NRRD_FIELDS))] * 5),
    image_calls,
    bombs=(_nrrd_bomb,),
)
METAIMAGE = Target(
    "metaimage",
    _meta_seeds,
    (*_TEXT, *[_line_damage("field", _set_fields(_META_FIELDS))] * 5),
    image_calls,
    bombs=(_meta_bomb,),
)
