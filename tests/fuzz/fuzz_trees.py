"""Trees of files: studies of a folder, and data sets in every layout; damage to lists, tables, names and links."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz_damage import NASTY_FLOATS, NASTY_INTS, NASTY_TEXTS, Damage, nasty_text
from fuzz_judge import PLANTED, Call
from fuzz_targets import Target

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "studies")]
from dicom_samples import make_slice, save  # noqa: E402

import layout_samples as samples  # noqa: E402

__all__ = ["LAYOUTS", "STUDIES"]

_MOST_STUDIES = 6


def _study_seeds(folder: Path) -> Sequence[Path]:
    tree = folder / "tree"
    for patient in range(2):
        for n in range(3):
            pixels = np.full((4, 5), n, np.int16)
            about = {"PatientName": PLANTED, "PatientID": f"id{patient}", "StudyInstanceUID": f"1.{patient + 1}"}
            data = make_slice(pixels, (0, 0, 2.0 * n), series=f"1.2.{patient + 1}", **about)
            save(data, tree / f"p{patient}" / "ct" / f"{n}.dcm")
    samples.volume(tree / "p0" / "mr" / "x_0000.nii.gz")
    samples.volume(tree / "p0" / "mr" / "x_0001.nii.gz")
    samples.picture(tree / "p1" / "a.png")
    (tree / "p1" / "notes.txt").write_text("nothing")
    return [tree]


def _study_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.discovery import find_studies
    from osler.studies.formats.dicom_index import index_folder

    def read_all() -> list[Any]:
        return [study.read(channel) for study in find_studies([path])[:_MOST_STUDIES] for channel in study.paths]

    yield "find_studies", lambda: find_studies([path])
    yield "read studies", read_all
    yield "index_folder", lambda: index_folder(path)


def _root_of(path: Path) -> Path:
    """The case's folder: what lies directly in a folder called ``case``."""
    return next((one for one in path.parents if one.name == "case"), path.parent)


def _cyclic_links(path: Path, rng: Random) -> str:
    """Folders that hold links to themselves, to folders above, and to each other."""
    root = _root_of(path)
    folders = [root, *(one for one in sorted(root.rglob("*")) if one.is_dir() and not one.is_symlink())]
    count = rng.choice((1, 2, 6))
    for n in range(count):
        (rng.choice(folders) / f"link{n}").symlink_to(rng.choice(folders), target_is_directory=True)
    if rng.random() < 0.5:
        for name, aim in (("one", "two"), ("two", "one")):
            (root / name).mkdir(exist_ok=True)
            for n in range(3):
                (root / name / f"to{n}").symlink_to(root / aim, target_is_directory=True)
    return f"{count} links in circles"


def _deep(path: Path, rng: Random) -> str:
    """The file below hundreds of folders, or hundreds of folders beside it."""
    if rng.random() < 0.5:
        inner = path.parent / "/".join(["d"] * rng.choice((50, 400)))
        inner.mkdir(parents=True, exist_ok=True)
        shutil.move(str(path), inner / path.name)
        return "moved many folders down"
    for n in range(300):
        (path.parent / f"empty{n}").mkdir(exist_ok=True)
    return "beside many folders"


def _renamed(path: Path, rng: Random) -> str:
    """A name that is no text, is very long, or looks like something else."""
    suffix = "".join(path.suffixes)
    name = rng.choice((
        b"\xff\xfe" + suffix.encode(), ("a" * 200 + suffix).encode(), ("a\nb" + suffix).encode(), b"-rf",
        (" " + path.name).encode(), (path.stem + "_0000" + suffix).encode(), "é".encode(),
        b"a|b#index=1" + suffix.encode(),
        path.name.upper().encode(), b"$(x)" + suffix.encode(), b"DICOMDIR", b"[a]*?" + suffix.encode(),
    ))  # fmt: skip
    os.replace(os.fsencode(path), os.fsencode(path.parent) + b"/" + name)
    return f"renamed to {name!r}"


def _copied(path: Path, rng: Random) -> str:
    """The same file again, beside it or elsewhere."""
    folder = rng.choice([one for one in sorted(_root_of(path).rglob("*")) if one.is_dir()] or [path.parent])
    shutil.copyfile(path, folder / f"copy{''.join(path.suffixes)}")
    return "copied"


def _lost(path: Path, rng: Random) -> str:
    path.unlink()
    return "lost"


def _of_text(name: str, change: Callable[[str, Random], str]) -> Damage:
    """A damage to a file of text; other files lose a byte."""

    def damage(path: Path, rng: Random) -> str:
        data = path.read_bytes()
        if path.suffix.lower() not in (".csv", ".tsv", ".json", ".xml", ".txt", ".hea"):
            path.write_bytes(data[:-1])
            return "a byte lost"
        path.write_bytes(change(data.decode("utf-8", "replace"), rng).encode("utf-8", "replace"))
        return name

    return damage


_CELLS = (
    "#index=1", "#index=²", "#channel=99999999999999999999", "#key=images&index=-1", "#structure=1", "#structure=²",
    "|", "a|b",
    "p", "p/", "/", "/dev/zero", "p/0.png#channel=0", "p/0.png#index=5", "p/0.png#key=a", "=1+1", "train", "p/0.png",
)  # fmt: skip


def _cell_set(text: str, rng: Random) -> str:
    """A cell of a table, a word of a list."""
    parts = re.split(r"([,\t\n])", text)
    place = rng.randrange(len(parts))
    parts[place] = rng.choice((rng.choice(_CELLS), parts[place] + rng.choice(_CELLS), nasty_text(rng)))
    return "".join(parts)


_GROWN = 80 << 20  # characters of a table that was grown several times: this process has to make it


def _table_grown(text: str, rng: Random) -> str:
    lines = text.splitlines() or [""]
    way = rng.randrange(5)
    if way == 0:
        return "\n".join([lines[0], *lines[1:] * min(2000, _GROWN // len(text or " "))])
    if way == 1:
        return "\n".join(line + "," * min(20_000, _GROWN // len(lines)) for line in lines)
    if way == 2:
        return text.replace(",", rng.choice((";", "\t", "\0", '"', ",,")))
    if way == 3:
        return "\n".join([*lines, '"' + "x" * 200_000])
    return "\n".join(
        [lines[0] + "," + rng.choice(("mask", "label", "grade", "value", "mask_x", "image_b", "split")), *lines[1:]]
    )


def _json_nodes(node: Any) -> list[tuple[Any, Any]]:
    """Every place in a JSON content as container and key."""
    if isinstance(node, dict):
        return [(node, key) for key in node] + [pair for one in node.values() for pair in _json_nodes(one)]
    if isinstance(node, list):
        return [(node, n) for n in range(len(node))] + [pair for one in node for pair in _json_nodes(one)]
    return []


def _json_value(text: str, rng: Random) -> str:
    """A value, key or list of a JSON file."""
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        return text[: len(text) // 2]
    nodes = _json_nodes(content)
    if not nodes:
        return "[" * 100_000
    node, key = rng.choice(nodes)
    nasty: Any = rng.choice((
        rng.choice(NASTY_INTS), rng.choice(NASTY_FLOATS), rng.choice(NASTY_TEXTS), None, [], {}, [[]], {"a": 1}, True,
        [10**9] * 5, [1, 2, 3, 4, 5, 6, 1e300], {"size": [10**6, 10**6], "counts": "0" * 99}, {"²": "x"}, {"1": "x",
        "01": "y"},
    ))  # fmt: skip
    way = rng.randrange(6)
    if way == 0:
        del node[key]
    elif way == 1 and isinstance(node, list):
        node.extend([node[key]] * rng.choice((1, 500)))
    elif way == 1:
        node[nasty_text(rng)] = node.pop(key)
    else:
        node[key] = nasty
    return json.dumps(content)


def _json_deep(text: str, rng: Random) -> str:
    depth = rng.choice((500, 100_000))
    keys = ('"images":', '"annotations":', '"categories":', '"training":', '"labels":')
    return rng.choice(("[" * depth, '{"a":' * depth, "{" + ",".join(f"{key}{'[' * depth}" for key in keys)))


_LAUGHS = (
    '<?xml version="1.0"?><!DOCTYPE annotation [<!ENTITY a "ha">'
    + "".join(f'<!ENTITY a{n} "{f"&a{n - 1};" * 10 if n else "&a;" * 10}">' for n in range(12))
    + "]><annotation><object><name>&a11;</name></object></annotation>"
)
_OUTSIDE = (
    '<!DOCTYPE annotation [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
    "<annotation><object><name>&x;</name></object></annotation>"
)


def _xml(text: str, rng: Random) -> str:
    """Entities that unfold, entities from outside, elements within elements, names that are none."""
    return rng.choice((
        _LAUGHS, _OUTSIDE, "<annotation>" * 50_000,
        "<annotation>" + "<object>" * 50_000 + "</object>" * 50_000 + "</annotation>",
        '<!DOCTYPE annotation [<!ENTITY a "' + "x" * 50_000 + '">]><annotation><object><name>' + "&a;" * 5000
        + "</name></object></annotation>",
        text.replace("RBC", nasty_text(rng).replace("\0", "")), "<annotation><object/></annotation>",
        "<annotation" + ' a="1"' * 50_000 + "/>",
    ))  # fmt: skip


def _by_suffix(path: Path, rng: Random) -> str:
    """The damage that knows this list."""
    ways = {
        ".csv": (_cell_set, _cell_set, _table_grown), ".tsv": (_cell_set, _table_grown), ".txt": (_cell_set,),
        ".xml": (_xml,),
        ".json": (_json_value, _json_value, _json_value, _json_value, _json_deep), ".hea": (_cell_set,),
    }  # fmt: skip
    change = rng.choice(ways.get(path.suffix.lower(), (_cell_set,)))
    return _of_text(change.__name__.strip("_").replace("_", " "), change)(path, rng)


def _parquet_bomb(path: Path, rng: Random) -> str:
    """Thousands of times more rows than bytes."""
    import pyarrow
    import pyarrow.parquet

    rows = rng.choice((300_000, 20_000_000))
    cells = pyarrow.array(np.zeros(rows, np.int8)).dictionary_encode()
    table = pyarrow.table({"image": cells, "label": cells})
    pyarrow.parquet.write_table(table, path.parent / "manifest.parquet", compression="zstd")
    return f"beside a table of {rows:,} rows"


def _layout_seeds(folder: Path) -> Sequence[Path]:
    makers = {**samples.MAKERS, "voc-boxes": samples.voc_boxes}
    for name, make in makers.items():
        make(folder / name)
    table = folder / "csv-of-masks"
    samples.images_and_masks(table)
    rows = [f"images/a{n}.png,masks/a{n}.png,P{n},{('train', 'test')[n % 2]}" for n in range(3)]
    (table / "manifest.csv").write_text("\n".join(["image,mask,patient,split", *rows]))
    (table / "labels.json").write_text('{"255": "lungs"}')
    records = folder / "wfdb-records"
    records.mkdir()
    (records / "a.hea").write_text("a 1 360 40\na.dat 16 200 12 0 0\n")
    (records / "a.dat").write_bytes(bytes(80))
    (records / "a.atr").write_bytes(b"\x05\x04\x05\x04\0\0")
    (folder / "tables").mkdir()
    (folder / "tables" / "x.csv").write_text("age,sex,diagnosis\n" + "50,1,0\n" * 5)
    return [*(folder / name for name in makers), table, records, folder / "tables"]


def _layout_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.datasets.layouts import list_dataset, open_dataset, signals

    def load() -> list[Any]:
        dataset = list_dataset(path)
        cases = [dataset.read_case(record) for record in islice(dataset, 2)]
        return [[*case.study.images.values(), case.mask] for case in cases]

    yield "list_dataset", lambda: list_dataset(path)
    yield "list_dataset(multilabel)", lambda: list_dataset(path, task="multilabel")
    yield "open_dataset", lambda: open_dataset(path)
    yield "read_case", load
    yield "list_records", lambda: signals.list_records(path)


_OF_TREES = (_cyclic_links, _cyclic_links, _deep, _renamed, _renamed, _copied, _lost)

STUDIES = Target(
    "studies", _study_seeds, _OF_TREES, _study_calls, truncated=False, named=False, any_file=True
)  # fmt: skip
LAYOUTS = Target(
    "layouts",
    _layout_seeds,
    (*_OF_TREES, *[_by_suffix] * 16),
    _layout_calls,
    bombs=(_parquet_bomb,),
    truncated=False,
    named=False,
    any_file=True,
)
