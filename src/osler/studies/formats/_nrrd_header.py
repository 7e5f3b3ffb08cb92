"""The text of an NRRD header, and what it says of axes, place and data.

Source: "Definition of NRRD File Format" (teem.sourceforge.net/nrrd/format.html), versions NRRD0001 to NRRD0006.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from osler.errors import GeometryError, Unreadable
from osler.studies.formats._volumes import unplaced_affine
from osler.studies.geometry import LPS_TO_RAS, PICTURE_AFFINE, Array

__all__ = ["Axes", "Place", "axes_of", "dtype_of", "parse", "place_of", "sizes_of"]

_MOST_LINES, _LONGEST_LINE = 10_000, 2**20
_ALIASES = {
    "datafile": "data file",
    "lineskip": "line skip",
    "byteskip": "byte skip",
    "axismins": "axis mins",
    "axismaxs": "axis maxs",
    "centerings": "centers",
    "sampleunits": "sample units",
    "blocksize": "block size",
}
_TYPES = {
    "int8": ("signed char", "int8", "int8_t"),
    "uint8": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "int16": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "uint16": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "int32": ("int", "signed int", "int32", "int32_t"),
    "uint32": ("uint", "unsigned int", "uint32", "uint32_t"),
    "int64": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "uint64": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "float32": ("float",),
    "float64": ("double",),
}
_TO_RAS = {
    "right-anterior-superior": np.eye(4),
    "left-anterior-superior": np.diag([-1.0, 1, 1, 1]),
    "left-posterior-superior": LPS_TO_RAS,
}
_SHORT = {
    "ras": "right-anterior-superior",
    "las": "left-anterior-superior",
    "lps": "left-posterior-superior",
    "3dr": "3d-right-handed",
    "3dl": "3d-left-handed",
}
_UNPLACED = ("scanner-xyz", "3d-right-handed", "3d-left-handed")  # no word on what is the patient's left
_MM_PER_UNIT = {
    "mm": 1.0,
    "millimeter": 1.0,
    "millimeters": 1.0,
    "cm": 10.0,
    "m": 1000.0,
    "meter": 1000.0,
    "um": 1e-3,
    "µm": 1e-3,
    "μm": 1e-3,
    "micron": 1e-3,
    "microns": 1e-3,
    "nm": 1e-6,
}
_SPATIAL_KINDS = ("domain", "space", "???", "none", "")
_COLOURS = ("rgb-color", "rgba-color", "xyz-color", "hsv-color")
_TIMES = ("time", "list")


@dataclass(frozen=True)
class Axes:
    """Which axes of the file are what: ``spatial`` (2 or 3), ``frames`` and ``values`` (or None), and the kinds."""

    spatial: tuple[int, ...]
    frames: int | None
    values: int | None
    kinds: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Place:
    """Where the voxels lie: (4, 4) index to RAS+ mm, and how much of it is known."""

    affine: Array
    spacing_known: bool
    orientation_known: bool


def parse(file: BinaryIO, path: Path) -> dict[str, str]:
    """The fields of a header by their names in lower case; leaves the file at the first byte of the data.

    Raises:
        Unreadable: when it is no NRRD header, or has a line that is none of comment, field and key.
    """
    magic = file.readline(16).strip()
    if not re.fullmatch(rb"NRRD000[1-6]", magic):
        raise Unreadable(f"{path} does not begin as NRRD does", remedy="export it again as NRRD")
    fields: dict[str, str] = {}
    for _ in range(_MOST_LINES):
        raw = file.readline(_LONGEST_LINE)
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            return fields
        if line.startswith("#") or re.match(r"[^:]*:=", line):
            continue
        name, colon, value = line.partition(": ")
        if not colon:
            raise Unreadable(f"{path} has a header line that is no field: {line[:60]!r}", remedy="repair the header")
        name = name.strip().lower()
        name = _ALIASES.get(name, name)
        if name in fields:
            raise Unreadable(f"{path} gives the field {name!r} twice", remedy="remove the wrong one")
        fields[name] = value.strip()
        if name == "data file" and value.split()[:1] == ["LIST"]:
            fields["listed files"] = file.read(_LONGEST_LINE).decode("utf-8", "replace").strip()
            return fields
    raise Unreadable(f"{path} has a header of more than {_MOST_LINES} lines", remedy="repair the header")


def dtype_of(fields: Mapping[str, str], path: Path) -> np.dtype[np.generic]:
    """The type of the samples, in the byte order of the file.

    Raises:
        Unreadable: for a type that is none, or bytes without an order.
    """
    name = next((dtype for dtype, names in _TYPES.items() if fields.get("type", "").lower() in names), None)
    if name is None:
        raise Unreadable(
            f"{path} holds values of the type {fields.get('type', '')!r}", remedy="save it as integers or floats"
        )
    dtype: np.dtype[np.generic] = np.dtype(name)
    order = fields.get("endian", "").lower()
    in_text = fields.get("encoding", "").lower() in ("text", "txt", "ascii")
    if dtype.itemsize == 1 or in_text:
        return dtype
    if order not in ("little", "big"):
        raise Unreadable(
            f"{path} does not say in which order the bytes of its values are (endian)",
            remedy="add 'endian: little' or 'endian: big' to the header, whichever is right",
        )
    return dtype.newbyteorder("<" if order == "little" else ">")


def sizes_of(fields: Mapping[str, str], path: Path) -> tuple[int, ...]:
    """Samples along each axis, fastest first.

    Raises:
        Unreadable: when they do not fit the dimension.
    """
    sizes = tuple(int(token) for token in fields.get("sizes", "").split())
    if not sizes or len(sizes) > 16 or min(sizes) < 1 or fields.get("dimension") != str(len(sizes)):
        raise Unreadable(
            f"{path} has the sizes {fields.get('sizes', '')!r} and the dimension {fields.get('dimension', '')!r}",
            remedy="repair the header",
        )
    return sizes


def axes_of(fields: Mapping[str, str], sizes: tuple[int, ...], path: Path) -> Axes:
    """Which axes are space, which one counts frames, and which one the values of a voxel.

    Raises:
        GeometryError: when the header does not make it clear.
    """
    kinds = tuple(kind.lower() for kind in fields.get("kinds", "").split()) or ("",) * len(sizes)
    if len(kinds) != len(sizes):
        raise GeometryError(f"{path} has {len(sizes)} axes and {len(kinds)} kinds", remedy="repair the header")
    spatial = _spatial(fields, sizes, kinds, path)
    others = [axis for axis in range(len(sizes)) if axis not in spatial]
    frames = [axis for axis in others if kinds[axis] in (*_TIMES, *_SPATIAL_KINDS)]
    values = [axis for axis in others if axis not in frames]
    if len(spatial) not in (2, 3) or len(frames) > 1 or len(values) > 1:
        raise GeometryError(
            f"{path} has {len(spatial)} axes in space, {len(frames)} of frames and {len(values)} of values",
            remedy="say which is which: 'kinds: domain domain domain list', and 'none' among the space directions",
        )
    if values and kinds[values[0]] in ("complex", "hsv-color", "xyz-color"):
        raise Unreadable(f"{path} holds {kinds[values[0]]} values", remedy="save it as grey or RGB")
    return Axes(tuple(spatial), frames[0] if frames else None, values[0] if values else None, kinds)


def _spatial(fields: Mapping[str, str], sizes: tuple[int, ...], kinds: tuple[str, ...], path: Path) -> list[int]:
    if "space directions" in fields:
        directions = _vectors(fields["space directions"], path)
        if len(directions) != len(sizes):
            raise GeometryError(
                f"{path} has {len(sizes)} axes and {len(directions)} space directions", remedy="repair the header"
            )
        return [axis for axis, direction in enumerate(directions) if direction is not None]
    spacings = _numbers(fields.get("spacings", ""))
    spatial = [axis for axis, kind in enumerate(kinds) if kind in _SPATIAL_KINDS]
    if len(spacings) == len(sizes):
        spatial = [axis for axis in spatial if not np.isnan(spacings[axis])]
    return spatial


def place_of(fields: Mapping[str, str], sizes: tuple[int, ...], axes: Axes, path: Path) -> Place:
    """Where the voxels lie.

    A space of patient axes (RAS, LAS, LPS) is converted; any other leaves the orientation unknown. Without directions
    the spacings are used; without those the spacing is unknown too. No origin counts as 0.

    Raises:
        GeometryError: for a space, unit or direction that makes no sense.
    """
    shape = [sizes[axis] for axis in axes.spatial]
    if "space directions" not in fields:
        return _by_spacings(fields, sizes, axes, shape, path)
    space = fields.get("space", "").lower()
    space = _SHORT.get(space, space)
    if not space and "space dimension" not in fields:
        raise GeometryError(f"{path} has directions in no space", remedy="add the field 'space', if you know it")
    if space and space not in _TO_RAS and space not in _UNPLACED:
        raise GeometryError(
            f"{path} lies in the space {space!r}",
            remedy="write it in right-anterior-superior or left-posterior-superior",
        )
    directions = [vector for vector in _vectors(fields["space directions"], path) if vector is not None]
    origin = _vectors(fields["space origin"], path)[0] if fields.get("space origin") else None
    components = 3 if space else int(fields["space dimension"])
    _check_vectors(directions, origin, components, path)
    factor = _unit_factor(fields, components, path)
    if components == 2:
        return Place(_picture_affine([float(np.linalg.norm(one)) * factor for one in directions]), True, False)
    affine = np.eye(4)
    affine[:3, : len(directions)] = np.transpose(directions)
    if len(directions) == 2:
        affine[:3, 2] = _normal(directions)
    affine[:3, : 2 if len(directions) == 2 else 3] *= factor
    affine[:3, 3] = np.zeros(3) if origin is None else np.array(origin) * factor
    return Place(_TO_RAS.get(space, np.eye(4)) @ affine, True, space in _TO_RAS)


def _by_spacings(fields: Mapping[str, str], sizes: tuple[int, ...], axes: Axes, shape: list[int], path: Path) -> Place:
    spacings = _numbers(fields.get("spacings", ""))
    known = len(spacings) == len(sizes)
    steps = [abs(spacings[axis]) if known else 1.0 for axis in axes.spatial]
    if not np.isfinite(steps).all() or min(steps) <= 0:
        raise GeometryError(
            f"{path} has the spacings {fields['spacings']!r}, and those in space must be above 0",
            remedy="repair the header",
        )
    steps = [step * factor for step, factor in zip(steps, _axis_factors(fields, sizes, axes, path), strict=True)]
    affine = _picture_affine(steps) if len(shape) == 2 else unplaced_affine(shape, steps)
    return Place(affine, known, False)


def _picture_affine(steps: list[float]) -> Array:
    affine = PICTURE_AFFINE.copy()
    affine[:3, :2] *= steps
    return affine


def _normal(directions: list[tuple[float, ...]]) -> Array:
    normal = np.cross(directions[0], directions[1])
    length = float(np.linalg.norm(normal))
    return np.asarray(normal / length if length > 0 else normal)


def _check_vectors(
    directions: list[tuple[float, ...]], origin: tuple[float, ...] | None, components: int, path: Path
) -> None:
    vectors = [*directions, *([] if origin is None else [origin])]
    if components not in (2, 3) or any(len(vector) != components for vector in vectors) or len(directions) > components:
        raise GeometryError(
            f"{path} has directions that do not fit a space of {components} dimensions", remedy="repair the header"
        )
    if not np.isfinite(np.concatenate([np.array(vector) for vector in vectors])).all():
        raise GeometryError(f"{path} has directions or an origin that are not finite", remedy="repair the header")


def _unit_factor(fields: Mapping[str, str], components: int, path: Path) -> float:
    units = re.findall(r'"([^"]*)"', fields.get("space units", ""))
    return _one_factor(units[:components], path)


def _axis_factors(fields: Mapping[str, str], sizes: tuple[int, ...], axes: Axes, path: Path) -> list[float]:
    units = re.findall(r'"([^"]*)"', fields.get("units", ""))
    if len(units) != len(sizes):
        return [1.0] * len(axes.spatial)
    return [_one_factor([units[axis]], path) for axis in axes.spatial]


def _one_factor(units: list[str], path: Path) -> float:
    named = {unit.strip().lower() for unit in units} - {"", "???"}
    if not named:
        return 1.0
    if len(named) > 1 or not named <= _MM_PER_UNIT.keys():
        raise GeometryError(f"{path} has lengths in {', '.join(sorted(named))}", remedy="write them in mm")
    return _MM_PER_UNIT[named.pop()]


def _vectors(text: str, path: Path) -> list[tuple[float, ...] | None]:
    """``(1,0,0) none (0,1,0)`` to numbers; None for an axis that is not in space."""
    found: list[tuple[float, ...] | None] = []
    rest = text.strip()
    while rest:
        match = re.match(r"(?:none|\(([^()]*)\))\s*", rest, re.IGNORECASE)
        if not match:
            raise GeometryError(f"{path} has a vector that cannot be read: {rest[:40]!r}", remedy="repair the header")
        found.append(None if match[1] is None else tuple(float(number) for number in match[1].split(",")))
        rest = rest[match.end() :]
    return found


def _numbers(text: str) -> list[float]:
    return [float(token) for token in text.split()]
