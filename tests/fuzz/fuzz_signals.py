"""WFDB and EDF: seeds, and damage to the tokens of their headers."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from random import Random

import numpy as np
from fuzz_damage import nasty_text
from fuzz_judge import PLANTED, Call
from fuzz_targets import Target

__all__ = ["EDF", "WFDB"]


def _wfdb_seeds(folder: Path) -> Sequence[Path]:
    for name in ("plain", "packed", "segments", "differences"):
        (folder / name).mkdir(parents=True)
    samples = np.random.default_rng(0).integers(-900, 900, (40, 2))
    sums = [int(one) for one in samples.sum(axis=0)]
    notes = b"".join(struct.pack("<H", 1 << 10 | 5) for _ in range(4)) + b"\x05\xfc(AFIB\0" + bytes(2)
    lines = [f"a.dat 16 200(0)/mV 12 0 {samples[0, n]} {sums[n]} 0 lead {n}" for n in range(2)]
    (folder / "plain/a.hea").write_text("\n".join(["a 2 360 40", *lines, ""]))
    (folder / "plain/a.dat").write_bytes(samples.astype("<i2").tobytes())
    (folder / "plain/a.atr").write_bytes(notes)
    packed = folder / "packed"
    (packed / "a.hea").write_text(
        "a 2 250/1000 20\na.dat 212x2:3+4 100 12 0 0 0 0 one\na.dat 212x1+4 0 12 0 0 0 0 two\n"
    )
    (packed / "a.dat").write_bytes(bytes(4) + np.arange(90, dtype=np.uint8).tobytes())
    (folder / "segments/a.hea").write_text("a/3 1 100 60\none 20\n~ 20\ntwo 20\n")
    for name in ("one", "two"):
        (folder / f"segments/{name}.hea").write_text(f"{name} 1 100 20\n{name}.dat 16 200 12 0 0\n")
        (folder / f"segments/{name}.dat").write_bytes(np.arange(20, dtype="<i2").tobytes())
    (folder / "differences/a.hea").write_text("a 2 100 30\na.dat 8 200 12 0 5 100 0 x\na.dat 8 200 12 0 5 100 0 y\n")
    (folder / "differences/a.dat").write_bytes(bytes(60))
    return [sub / "a.hea" for sub in sorted(folder.iterdir())]


def _wfdb_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import read_image, read_signals, sniff, wfdb

    yield "sniff", lambda: sniff(path)
    yield "read_signals", lambda: read_signals(path)
    yield "read_image", lambda: read_image(path)
    notes = path.with_suffix(".atr")
    if notes.exists():
        yield "read_annotations", lambda: wfdb.read_annotations(notes)


_TOKENS = (
    "16x1000000000", "16:1000000000", "16:99", "16+1000000000", "16+99999999999999999999", "8", "24", "32", "61",
    "80", "160",
    "212", "310", "311", "508", "516", "a.dat", "a.hea", "/dev/zero", "../a.dat", "~", ".", "200(99999999999)/mV",
    "0", "nan",
    "1e-300", "1e300", "inf", "360/1000(99)", "a/1000000", "a/2", "2000000000", "99999999999999999999", "²", "-5",
    "a", "one",
)  # fmt: skip


def _token_set(path: Path, rng: Random) -> str:
    """A word of the header: a file, format, gain, count."""
    if path.suffix != ".hea":
        return "nothing"
    lines = path.read_text("utf-8", "replace").splitlines() or [""]
    place = rng.randrange(len(lines))
    tokens = lines[place].split(" ")
    word = rng.choice(_TOKENS) if rng.random() < 0.7 else nasty_text(rng)
    tokens[rng.randrange(len(tokens))] = word
    lines[place] = " ".join(tokens)
    path.write_text("\n".join(lines) + "\n", "utf-8", "replace")
    return f"word {word[:40]!r} in line {place}"


def _line_changed(path: Path, rng: Random) -> str:
    lines = path.read_text("latin-1").splitlines() or [""]
    place = rng.randrange(len(lines))
    times = rng.choice((0, 2, 1000))
    path.write_text("\n".join([*lines[:place], *[lines[place]] * times, *lines[place + 1 :], ""]), "latin-1")
    return f"line {place} {times} times"


def _edf_file(signals: Sequence[tuple[str, int, bytes]], records: int, kind: str = "") -> bytes:
    """A header and records; each signal has a name, samples per record and bytes per record."""
    columns: tuple[tuple[int, Sequence[object]], ...] = (
        (16, [name for name, _, _ in signals]), (80, [""] * len(signals)), (8, ["uV"] * len(signals)),
        (8, ["-3200"] * len(signals)), (8, ["3200"] * len(signals)), (8, ["-32768"] * len(signals)),
        (8, ["32767"] * len(signals)), (80, [""] * len(signals)), (8, [count for _, count, _ in signals]),
        (32, [""] * len(signals)),
    )  # fmt: skip
    head = f"{'0':8}{'X M 01-JAN-1970 ' + PLANTED:80}{'Startdate':80}01.01.2012.00.00"
    head += f"{256 * (len(signals) + 1):<8}{kind:44}{records:<8}{'1':8}{len(signals):<4}"
    body = "".join(f"{cell!s:{width}}" for width, cells in columns for cell in cells)
    return (head + body).encode("latin-1") + b"".join(data for _, _, data in signals) * records


def _edf_seeds(folder: Path) -> Sequence[Path]:
    for name in ("plain", "notes", "rates"):
        (folder / name).mkdir(parents=True)
    samples = np.arange(20, dtype="<i2").tobytes()
    note = b"+0\x14\x14\x00+0.5\x15" + b"1\x14beat\x14\x00"
    (folder / "plain/a.edf").write_bytes(_edf_file([("I", 20, samples), ("II", 20, samples)], 3))
    tal = ("EDF Annotations", 20, note.ljust(40, b"\0"))
    (folder / "notes/a.edf").write_bytes(_edf_file([("I", 20, samples), tal], 1, "EDF+D"))
    (folder / "rates/a.edf").write_bytes(_edf_file([("I", 20, samples), ("T", 1, b"\1\0")], 3, "EDF+C"))
    return [sub / "a.edf" for sub in sorted(folder.iterdir())]


def _edf_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import edf, read_image, read_signals, sniff

    yield "sniff", lambda: sniff(path)
    yield "read_signals", lambda: read_signals(path)
    yield "read_image", lambda: read_image(path)
    yield "read_annotations", lambda: edf.read_annotations(path)
    yield "read_identifiers", lambda: edf.read_identifiers(path)


_FIXED = ((0, 8), (8, 80), (88, 80), (168, 8), (176, 8), (184, 8), (192, 44), (236, 8), (244, 8), (252, 4))
_OF_CHANNEL = (16, 80, 8, 8, 8, 8, 8, 80, 8, 32)


def _cell_set(path: Path, rng: Random) -> str:
    """A cell of the header, of the recording or of a channel."""
    data = path.read_bytes()
    channels = 1 if data[252:256].strip() == b"1" else 2
    if rng.random() < 0.5:
        start, width = rng.choice(_FIXED)
    else:
        column = rng.randrange(len(_OF_CHANNEL))
        width = _OF_CHANNEL[column]
        start = 256 + channels * sum(_OF_CHANNEL[:column]) + width * rng.randrange(channels)
    text = nasty_text(rng).encode("latin-1", "replace").ljust(width)[:width]
    path.write_bytes(data[:start] + text + data[start + width :])
    return f"{text.strip()[:30]!r} at {start}"


WFDB = Target("wfdb", _wfdb_seeds, (_token_set, _token_set, _token_set, _line_changed), _wfdb_calls)
EDF = Target("edf", _edf_seeds, (_cell_set,), _edf_calls)
