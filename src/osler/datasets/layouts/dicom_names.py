"""One schema of labels out of the structures of many files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from osler.datasets.labels import Label, LabelSet
from osler.datasets.layouts.files import natural
from osler.errors import DatasetError, NoLabels
from osler.findings.finding import Concept
from osler.studies.formats.dicom_rtstruct import REGIONS
from osler.studies.structures import Code, Structure, StructureSet

__all__ = ["MOST_LABELS", "Named", "label_set", "name_structures"]

MOST_LABELS = 255
"""That a prepared mask can hold."""


@dataclass(frozen=True)
class Named:
    """What a structure is called over the whole tree: ``names`` are its label and, after a choice, the chosen one."""

    names: tuple[str, ...]
    kind: Code | None


def name_structures(files: Sequence[tuple[Path, StructureSet]], notes: list[str]) -> dict[tuple[Path, int], Named]:
    """The name of every structure that is a region, by its file and number.

    Args:
        files: what each file holds.
        notes: gets what was left out or told apart.
    """
    found = [(path, one) for path, structures in files for one in structures.structures]
    points = sorted({one.name for _, one in found if one.outlines and not set(one.outlines) & set(REGIONS)})
    if points:
        notes.append(f"{_some(points)} are points or lines and no regions; they are left out")
    drawn = [(path, one) for path, one in found if _is_region(one)]
    spellings: dict[str, Counter[str]] = defaultdict(Counter)
    for _, one in drawn:
        spellings[_key(_full(one))][_full(one)] += 1
    shown = {key: min(counts, key=lambda name: (-counts[name], name)) for key, counts in spellings.items()}
    several = _ambiguous([one for _, one in drawn])
    if several:
        notes.append(f"{_some([shown[key] for key in several])} stand for several coded concepts, which are told apart")
    return {
        (path, one.number): Named((_told_apart(shown[_key(_full(one))], one, several),), one.kind)
        for path, one in drawn
    }


def label_set(named: dict[tuple[Path, int], Named], chosen: Mapping[int, str]) -> LabelSet:
    """The labels in natural order of their names, numbered from 1; or those that were chosen.

    Structures that were chosen by their coded concept get the chosen name as a second one, in place.

    Args:
        named: of every structure.
        chosen: names by value, out of ``labels.json``; empty takes all.

    Raises:
        NoLabels: when a chosen name is nowhere, or there is no structure.
        DatasetError: when there are more labels than a mask can hold.
    """
    names = sorted({name for one in named.values() for name in one.names}, key=natural)
    if not names:
        raise NoLabels("no segmentation or structure set encloses a region", remedy="check that contours are closed")
    if not chosen:
        chosen = dict(enumerate(names, 1))
    else:
        chosen = {value: _choose(name, named, names) for value, name in sorted(chosen.items())}
    if len(chosen) > MOST_LABELS:
        raise DatasetError(
            f"the structures have {len(chosen)} different names ({', '.join(names[:4])} ...), and a mask holds "
            f"{MOST_LABELS} labels at most",
            remedy="pick those to learn, by name or coded concept, in labels.json in that folder",
        )
    if min(chosen) < 1:
        raise DatasetError("labels.json gives a label the value 0, which is the background", remedy="count from 1")
    labels = tuple(Label(name=name, value=value, concept=_concept(name, named)) for value, name in chosen.items())
    return LabelSet(kind="mask", labels=labels)


def _choose(name: str, named: dict[tuple[Path, int], Named], names: Sequence[str]) -> str:
    """The spelling of a chosen name; a coded concept is put onto its structures as their name."""
    same = next((one for one in names if _key(one) == _key(name)), None)
    if same is not None:
        return same
    coded = [place for place, one in named.items() if one.kind is not None and _key(one.kind.meaning) == _key(name)]
    if not coded:
        raise NoLabels(
            f"labels.json names {name!r}, which no structure is called",
            remedy=f"the structures are {', '.join(names[:20])}",
        )
    for place in coded:
        named[place] = Named((*named[place].names, name), named[place].kind)
    return name


def _is_region(structure: Structure) -> bool:
    """Whether it is drawn as a region; of a SEG this is not known before its pixels are read."""
    return structure.outlines is None or bool(set(structure.outlines) & set(REGIONS))


def _full(structure: Structure) -> str:
    """The name with the modifiers that it does not say itself: "kidney (left)"."""
    name = " ".join(structure.name.split())
    more = [code.meaning for code in structure.modifiers if code.meaning and _key(code.meaning) not in _key(name)]
    return f"{name} ({', '.join(more)})" if more else name


def _key(name: str) -> str:
    return " ".join(name.split()).casefold()


def _ambiguous(structures: Sequence[Structure]) -> list[str]:
    """The names (keys) under which one coding scheme has several concepts; other schemes may say the same otherwise."""
    codes: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for one in structures:
        if one.kind is not None:
            codes[_key(_full(one))][one.kind.scheme].add(one.kind.value)
    return [key for key, schemes in codes.items() if any(len(values) > 1 for values in schemes.values())]


def _told_apart(name: str, structure: Structure, several: Sequence[str]) -> str:
    if _key(name) not in several or structure.kind is None:
        return name
    return f"{name} ({structure.kind.meaning or structure.kind.value})"


def _concept(name: str, named: Mapping[tuple[Path, int], Named]) -> Concept | None:
    """The commonest coded concept of a label's structures."""
    codes = Counter(one.kind for one in named.values() if name in one.names and one.kind is not None)
    if not codes:
        return None
    code = min(codes, key=lambda one: (-codes[one], one.scheme, one.value))
    return Concept(name=code.meaning or name, code=code.value, system=code.scheme)


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:4])
    return shown + (f" and {len(names) - 4} more" if len(names) > 4 else "")
