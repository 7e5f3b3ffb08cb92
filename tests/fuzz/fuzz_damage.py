"""Ways of damaging any file, whatever its format; those that know a format are in ``fuzz_*`` beside this.

A damage takes the file, changes it in place, and says in words what it did. Everything that it draws comes from the
generator that it is given, so that an input can be made again from its number.
"""

from __future__ import annotations

import bz2
import gzip
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Sequence
from functools import lru_cache, partial
from pathlib import Path
from random import Random

__all__ = [
    "BYTES",
    "NASTY_FLOATS",
    "NASTY_INTS",
    "NASTY_TEXTS",
    "PLACES",
    "TRUNCATED",
    "Damage",
    "choose",
    "in_bytes",
    "nasty_text",
    "zeros",
]

Damage = Callable[[Path, Random], str]

NASTY_INTS: tuple[int, ...] = (
    0, 1, 2, 3, 7, 8, 64, 127, 128, 255, 256, 1000, 32767, 32768, 65535, 65536, 10**6, 10**9,
    2**24, 2**31 - 1, 2**31, 2**32 - 16, 2**32 - 1, 2**63 - 1, 2**64 - 1, -1, -2, -(2**15), -(2**31), -(2**63),
)  # fmt: skip
NASTY_FLOATS: tuple[float, ...] = (
    0.0, -0.0, 1.0, -1.0, 0.5, float("nan"), float("inf"), float("-inf"), 1e-45, 1e-30, 1e-12, 1e-3, 1e3, 1e12, 1e30,
    3e38, -3e38, 1e300, -1e300, 5e-324,
)  # fmt: skip
NASTY_TEXTS: tuple[str, ...] = (
    "", " ", "0", "-0", "1", "-1", "2", "nan", "inf", "-inf", "1e309", "1e-320", "0.0", "0x10", "1_0", "²", "٣", "½",
    "99999999999999999999", "9" * 400, "9" * 5000, "-9999999999", "1000000000", "65535", "4294967295", "x", "é", "\0",
    "None", "null", "true", "1 2", "1 2 3 4 5 6 7 8 9", "1\\2", "1,2", "(", "()", "(1,2", "%d", "%s%s%s",
    "%0999999999d",
    "/dev/zero", "/etc/passwd", "../../etc/passwd", ".", "..", "~", "LIST", "LOCAL", "a" * 70_000, "\U0001f525",
)  # fmt: skip
_HEAD = 4096  # most formats keep their header in the first bytes
_SPARSE = 16 << 30


def in_bytes(name: str, change: Callable[[bytes, Random], bytes]) -> Damage:
    """A damage out of a function of the file's bytes."""

    def damage(path: Path, rng: Random) -> str:
        path.write_bytes(change(path.read_bytes(), rng))
        return name

    damage.__name__ = name
    return damage


def nasty_text(rng: Random) -> str:
    """A text where a number or a name belongs."""
    kind = rng.randrange(4)
    if kind == 0:
        return str(rng.choice(NASTY_INTS))
    return repr(rng.choice(NASTY_FLOATS)) if kind == 1 else rng.choice(NASTY_TEXTS)


def _place(data: bytes, rng: Random) -> int:
    """A place in the file; the header as often as all the rest."""
    if not data:
        return 0
    return rng.randrange(min(len(data), _HEAD)) if rng.random() < 0.6 else rng.randrange(len(data))


def _cut_off(data: bytes, rng: Random) -> bytes:
    """At least half is lost."""
    return data[: rng.randrange(len(data) // 2 + 1)]


def _trimmed(data: bytes, rng: Random) -> bytes:
    return data[: max(0, len(data) - rng.choice((1, 2, 3, 4, 8, 13, 100, 1000)))]


def _flipped(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 4, 16, 64)) if data else 0):
        changed[_place(data, rng)] ^= 1 << rng.randrange(8)
    return bytes(changed)


def _overwritten(data: bytes, rng: Random) -> bytes:
    start, count = _place(data, rng), rng.choice((1, 2, 4, 8, 16, 64, 256))
    fill = rng.choice((b"\0" * count, b"\xff" * count, rng.randbytes(count)))
    return data[:start] + fill + data[start + count :]


def _integer_set(data: bytes, rng: Random) -> bytes:
    """One extreme whole number, of any width and order, where some number may stand."""
    form = rng.choice("<>") + rng.choice("BHIQ")
    size = struct.calcsize(form)
    number = rng.choice(NASTY_INTS) % (1 << 8 * size)
    start = _place(data, rng) // 2 * 2
    return data[:start] + struct.pack(form, number) + data[start + size :]


def _cut_out(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:start] + data[start + rng.choice((1, 2, 3, 4, 16, 256)) :]


def _inserted(data: bytes, rng: Random) -> bytes:
    start = _place(data, rng)
    return data[:start] + rng.randbytes(rng.choice((1, 2, 4, 16, 300))) + data[start:]


def _doubled(data: bytes, rng: Random) -> bytes:
    start, count = _place(data, rng), rng.choice((4, 16, 64, 512))
    return data[: start + count] + data[start : start + count] * rng.choice((1, 2, 50)) + data[start + count :]


def _swapped(data: bytes, rng: Random) -> bytes:
    one, other, count = *sorted((_place(data, rng), _place(data, rng))), rng.choice((2, 4, 16, 64))
    if one + count > other:
        return data[::-1]
    middle = data[one + count : other]
    return data[:one] + data[other : other + count] + middle + data[one : one + count] + data[other + count :]


def _extended(data: bytes, rng: Random) -> bytes:
    return data + rng.choice((b"\0", b"\xff", rng.randbytes(16))) * rng.choice((1, 100, 10_000))


TRUNCATED: Damage = in_bytes("cut off", _cut_off)
"""Half of the file or more is lost: what is left must never pass for the whole."""

BYTES: tuple[Damage, ...] = (
    in_bytes("trimmed", _trimmed),
    in_bytes("bits flipped", _flipped),
    in_bytes("bits flipped", _flipped),
    in_bytes("bytes overwritten", _overwritten),
    in_bytes("a number set", _integer_set),
    in_bytes("a number set", _integer_set),
    in_bytes("bytes cut out", _cut_out),
    in_bytes("bytes inserted", _inserted),
    in_bytes("a block doubled", _doubled),
    in_bytes("blocks swapped", _swapped),
    in_bytes("extended", _extended),
)


def _emptied(path: Path, rng: Random) -> str:
    path.write_bytes(b"")
    return "zero bytes"


def _text(path: Path, rng: Random) -> str:
    words = rng.choice(
        ("only some words\n", "0", "<html><body>not found</body></html>", "é" * 200, "\n", "{}", "a,b\n")
    )
    path.write_text(words * rng.choice((1, 1, 50)), "utf-8")
    return "text under this name"


def _noise(path: Path, rng: Random) -> str:
    path.write_bytes(rng.randbytes(rng.choice((1, 3, 132, 348, 5000))))
    return "noise"


def _nothing_but(path: Path, rng: Random) -> str:
    path.write_bytes(rng.choice((b"\0", b"\xff")) * rng.choice((16, 400, 70_000)))
    return "nothing but one byte"


def _folder(path: Path, rng: Random) -> str:
    path.unlink()
    path.mkdir()
    if rng.random() < 0.5:
        (path / path.name).write_bytes(b"inside")
    return "a folder of this name"


def _link(path: Path, rng: Random) -> str:
    path.unlink()
    kind = rng.choice(("itself", "nowhere", "circle", "folder", "zero"))
    if kind == "circle":
        (path.parent / "other").symlink_to(path)
    aims = {"itself": path, "nowhere": "absent", "circle": "other", "folder": path.parent, "zero": "/dev/zero"}
    path.symlink_to(aims[kind])
    return f"a link to {kind}"


def _pipe(path: Path, rng: Random) -> str:
    path.unlink()
    os.mkfifo(path)
    return "a pipe that nobody writes into"


def _sparse(path: Path, rng: Random) -> str:
    """Zeros that take no room on the disk."""
    with path.open("r+b") as file:
        file.truncate(_SPARSE)
    return "16 GiB long"


def _under_another_name(path: Path, rng: Random) -> str:
    """Another file of this folder under this name."""
    others = [file for file in sorted(path.parent.iterdir()) if file.is_file() and file != path]
    if not others:
        return _noise(path, rng)
    shutil.copyfile(rng.choice(others), path)
    return "another file under this name"


def _squeezed(path: Path, rng: Random) -> str:
    path.write_bytes(gzip.compress(path.read_bytes(), mtime=0) * rng.choice((1, 1, 3)))
    return "compressed once more"


def _gzip_bomb(path: Path, rng: Random) -> str:
    size = rng.choice((1, 100, 500, 4000))
    path.write_bytes(zeros("gzip", size << 20))
    return f"a gzip bomb of {size} MiB"


PLACES: tuple[Damage, ...] = (
    _emptied,
    _text,
    _noise,
    _nothing_but,
    _folder,
    _link,
    _pipe,
    _sparse,
    _under_another_name,
    _squeezed,
    _gzip_bomb,
)


@lru_cache(maxsize=64)
def zeros(method: str, size: int, head: bytes = b"") -> bytes:
    """``head`` and then zeros, ``size`` bytes in all, compressed: a thousandth and less of their size, at once.

    Args:
        method: "gzip", "bzip2", "zlib" or "deflate" (without a frame).
        size: bytes before compression.
        head: what stands before the zeros.
    """
    rest = size - len(head)
    block = 1 << 24
    if method in ("gzip", "bzip2"):  # both are read member after member
        squeeze = partial(gzip.compress, mtime=0) if method == "gzip" else bz2.compress
        return (squeeze(head) if head else b"") + squeeze(bytes(block)) * (rest // block) + squeeze(bytes(rest % block))
    return _deflated(rest, head, block, framed=method == "zlib")


def _deflated(rest: int, head: bytes, block: int, *, framed: bool) -> bytes:
    """Blocks that end with a full flush follow each other in any number."""

    def part(data: bytes, flush: int) -> bytes:
        engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
        return engine.compress(data) + engine.flush(flush)

    body = part(head, zlib.Z_FULL_FLUSH) + part(bytes(block), zlib.Z_FULL_FLUSH) * (rest // block)
    body += part(bytes(rest % block), zlib.Z_FINISH)
    return b"\x78\xda" + body + struct.pack(">I", _adler(head, rest)) if framed else body


def _adler(head: bytes, zeros_after: int) -> int:
    """The Adler-32 sum of ``head`` and zeros, without the zeros."""
    start = zlib.adler32(head)
    low = start & 0xFFFF
    return (((start >> 16) + low * zeros_after) % 65521) << 16 | low


def choose(damages: Sequence[Damage], rng: Random) -> Damage:
    """One of several."""
    return damages[rng.randrange(len(damages))]
