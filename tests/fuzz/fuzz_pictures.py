"""PNG, JPEG, BMP, TIFF, slides, GIF, MP4 and NPZ: seeds, and damage to chunks, markers, tags, boxes and members."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from fuzz_damage import NASTY_INTS, zeros
from fuzz_judge import Call
from fuzz_targets import Target, image_calls

__all__ = ["CLIP", "NPZ", "RASTER", "SLIDE"]

_ROWS = np.random.default_rng(0).integers(0, 255, (20, 24, 3)).astype(np.uint8)
_LENGTHS = (0, 1, 16, 255, 4096, 9000, 13_000, 20_000, 65_500, 65_535, 2**24, 2**31 - 1, 2**31, 2**32 - 1)


def _raster_seeds(folder: Path) -> Sequence[Path]:
    import PIL.Image
    import tifffile

    grey, colour = PIL.Image.fromarray(_ROWS[..., 0]), PIL.Image.fromarray(_ROWS)
    many = {"save_all": True, "append_images": [colour.rotate(90 * n) for n in range(3)]}
    for n, (name, picture, options) in enumerate((
        ("a.png", grey, {}), ("a.png", colour, {}), ("a.png", grey.convert("P"), {}), ("a.png", colour, many),
        ("a.png", grey.convert("1"), {}), ("a.jpg", colour, {}), ("a.jpg", colour, {"progressive": True}),
        ("a.bmp", colour, {}), ("a.bmp", grey.convert("P"), {}),
    )):  # fmt: skip
        (folder / f"p{n}").mkdir(parents=True)
        picture.save(folder / f"p{n}" / name, **options)
    import imagecodecs

    (folder / "deep").mkdir()
    (folder / "deep/a.png").write_bytes(imagecodecs.png_encode(_ROWS.astype(np.uint16) * 200))
    for n, options in enumerate((
        {}, {"compression": "zlib"}, {"compression": "lzw"}, {"compression": "jpeg"}, {"tile": (16, 16)},
        {"planarconfig": "contig", "bigtiff": True}, {"compression": "packbits"}, {"compression": "zstd"},
    )):  # fmt: skip
        (folder / f"t{n}").mkdir()
        tifffile.imwrite(folder / f"t{n}" / "a.tif", _ROWS, photometric="rgb", metadata=None, **options)
    (folder / "pages").mkdir()
    tifffile.imwrite(folder / "pages/a.tif", np.stack([_ROWS[..., 0]] * 3), photometric="minisblack", metadata=None)
    return [next(sub.iterdir()) for sub in sorted(folder.iterdir())]


def _slide_seeds(folder: Path) -> Sequence[Path]:
    import tifffile

    rows = np.random.default_rng(1).integers(0, 255, (96, 80, 3)).astype(np.uint8)
    for name, options in (
        ("plain", {"compression": "zlib"}), ("jpeg", {"compression": "jpeg"}), ("big", {"bigtiff": True}),
    ):  # fmt: skip
        (folder / name).mkdir(parents=True)
        with tifffile.TiffWriter(folder / name / "a.tif", bigtiff=bool(options.pop("bigtiff", False))) as file:
            file.write(rows, subifds=1, photometric="rgb", tile=(32, 32), metadata=None, **options)
            file.write(rows[::2, ::2], subfiletype=1, photometric="rgb", tile=(32, 32), metadata=None, **options)
    (folder / "svs").mkdir()
    with tifffile.TiffWriter(folder / "svs/a.svs") as file:
        for factor in (1, 2, 4):
            text = f"Aperio Image Library v12\n80x96 -> {80 // factor}|AppMag = 20|MPP = 0.5"
            part = rows[::factor, ::factor]
            file.write(part, photometric="rgb", tile=(32, 32), description=text, metadata=None)
    (folder / "ome").mkdir()
    with tifffile.TiffWriter(folder / "ome/a.ome.tif", ome=True) as file:
        meta = {"axes": "YXS", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(rows, subifds=1, photometric="rgb", tile=(32, 32), metadata=meta)
        file.write(rows[::2, ::2], subfiletype=1, photometric="rgb", tile=(32, 32))
    return [next(sub.iterdir()) for sub in sorted(folder.iterdir())]


def _slide_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats.slide import open_slide

    def regions() -> list[Any]:
        slide = open_slide(path)
        return [
            slide.read_region(0, 0, min(64, level.width), min(64, level.height), level=n)
            for n, level in enumerate(slide.levels)
        ]

    yield from image_calls(path)
    yield "read_region", regions


def _chunks(data: bytes) -> list[tuple[bytes, bytes]]:
    """Kind and content of the chunks of a PNG."""
    found, place = [], 8
    while place + 12 <= len(data):
        length = struct.unpack_from(">I", data, place)[0]
        if place + 12 + length > len(data):
            break
        found.append((data[place + 4 : place + 8], data[place + 8 : place + 8 + length]))
        place += 12 + length
    return found


def _png(chunks: Sequence[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        for kind, content in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def _png_chunk(data: bytes, rng: Random) -> bytes:
    """A chunk with other content and a checksum that fits."""
    chunks = _chunks(data)
    if not chunks:
        return data
    place = rng.randrange(len(chunks))
    kind, content = chunks[place]
    way = rng.randrange(5)
    if kind == b"IHDR" and len(content) == 13 and way < 4:
        start, form = rng.choice(((0, ">I"), (4, ">I"), (8, "B"), (9, "B"), (12, "B")))
        raw = struct.pack(form, rng.choice(_LENGTHS) % (1 << 8 * struct.calcsize(form)))
        content = content[:start] + raw + content[start + len(raw) :]
    elif way == 0:
        return _png(chunks[:place] + chunks[place + 1 :])
    elif way == 1:
        return _png(chunks[:place] + [chunks[place]] * rng.choice((2, 300)) + chunks[place + 1 :])
    elif way == 2:
        kind = rng.choice((b"PLTE", b"tRNS", b"acTL", b"fcTL", b"fdAT", b"zTXt", b"iTXt", b"iCCP", b"eXIf", b"IDAT"))
    else:
        at = rng.randrange(len(content) + 1)
        content = content[:at] + struct.pack(">I", rng.choice(_LENGTHS)) + content[at + 4 :]
    return _png([*chunks[:place], (kind, content), *chunks[place + 1 :]])


def _jpeg_marker(data: bytes, rng: Random) -> bytes:
    """Sizes, components and tables of a JPEG's segments."""
    places = [
        n for n in range(2, len(data) - 20) if data[n] == 0xFF and data[n + 1] in b"\xc0\xc1\xc2\xc4\xda\xdb\xdd\xe1"
    ]
    if not places:
        return data
    place = rng.choice(places)
    if data[place + 1] in b"\xc0\xc1\xc2" and rng.random() < 0.7:
        height, width = (min(rng.choice(_LENGTHS), 65535) for _ in range(2))
        return data[: place + 5] + struct.pack(">HH", height, width) + data[place + 9 :]
    at = place + 2 + rng.randrange(18)
    return data[:at] + bytes([rng.choice((0, 1, 2, 4, 17, 127, 255))]) + data[at + 1 :]


def _bmp_field(data: bytes, rng: Random) -> bytes:
    start, form = rng.choice(
        ((2, "<I"), (10, "<I"), (14, "<I"), (18, "<i"), (22, "<i"), (28, "<H"), (30, "<I"), (46, "<I"))
    )
    number = rng.choice((*_LENGTHS, -1, -20)) % (1 << 8 * struct.calcsize(form))
    return data[:start] + struct.pack(form.upper(), number) + data[start + struct.calcsize(form) :]


def _tags(data: bytes) -> list[tuple[int, str, int]]:
    """Where the entries of a TIFF's directories are, their struct form, and where each begins; up to 50 directories."""
    order = "<" if data[:2] == b"II" else ">"
    if len(data) < 16 or data[:2] not in (b"II", b"MM"):
        return []
    big = struct.unpack_from(order + "H", data, 2)[0] == 43
    head, entry, count = (8, order + "HHQQ", order + "Q") if big else (4, order + "HHII", order + "H")
    link = order + ("Q" if big else "I")
    place, found, seen = struct.unpack_from(link, data, head)[0], [], set()
    while place and place + 8 <= len(data) and place not in seen and len(seen) < 50:
        seen.add(place)
        number = struct.unpack_from(count, data, place)[0]
        start, size = place + struct.calcsize(count), struct.calcsize(entry)
        found += [
            (start + n * size, entry, place) for n in range(min(number, 200)) if start + (n + 1) * size <= len(data)
        ]
        end = start + number * size
        if end + struct.calcsize(link) > len(data):
            break
        found.append((end, link, place))
        place = struct.unpack_from(link, data, end)[0]
    return found


def _tiff_tag(data: bytes, rng: Random) -> bytes:
    """A tag's kind, count or value; or the link to the next directory, to one that came before."""
    tags = _tags(data)
    if not tags:
        return data
    place, form, directory = rng.choice(tags)
    values = list(struct.unpack_from(form, data, place))
    if len(values) == 1:
        values = [rng.choice((directory, 8, 16, len(data) - 2, rng.choice(NASTY_INTS)))]
    else:
        which = rng.choice((0, 1, 2, 3, 3, 3))
        kinds = (
            256,
            257,
            258,
            259,
            262,
            266,
            273,
            277,
            278,
            279,
            284,
            317,
            322,
            323,
            324,
            325,
            330,
            338,
            339,
            347,
            530,
        )
        values[which] = rng.choice((kinds, range(20), NASTY_INTS, (*_LENGTHS, directory))[which])
    sizes = [struct.calcsize(form[0] + letter) for letter in form[1:]]
    fitting = [int(value) % (1 << 8 * size) for value, size in zip(values, sizes, strict=True)]
    return data[:place] + struct.pack(form, *fitting) + data[place + struct.calcsize(form) :]


def _by_kind(path: Path, rng: Random) -> str:
    """The damage that knows this picture."""
    data = path.read_bytes()
    ways: dict[bytes, tuple[str, Callable[[bytes, Random], bytes]]] = {
        b"\x89P": ("chunk", _png_chunk), b"\xff\xd8": ("marker", _jpeg_marker), b"BM": ("field", _bmp_field),
        b"II": ("tag", _tiff_tag), b"MM": ("tag", _tiff_tag),
    }  # fmt: skip
    name, change = ways.get(data[:2], ("nothing", lambda content, _: content))
    for _ in range(rng.choice((1, 1, 2))):
        data = change(data, rng)
    path.write_bytes(data)
    return f"{name} damaged"


def _picture_bomb(path: Path, rng: Random) -> str:
    length, colour = rng.choice(((5000, 2), (11_000, 2), (13_000, 2), (13_000, 3), (13_000, 0), (60_000, 0)))
    if path.suffix == ".png":
        row = 1 + length * (3 if colour == 2 else 1)
        head = struct.pack(">IIBBBBB", length, length, 8, colour, 0, 0, 0)
        palette = [(b"PLTE", bytes(range(6)))] if colour == 3 else []
        chunks = [(b"IHDR", head), *palette, (b"IDAT", zeros("zlib", row * length)), (b"IEND", b"")]
        path.write_bytes(_png(chunks))
    else:
        path.write_bytes(_tiff_bomb(length))
    return f"a bomb of {length} squared pixels"


def _tiff_bomb(side: int) -> bytes:
    """One strip of deflated zeros."""
    strip = zeros("zlib", side * side)
    tags = (
        (256, 4, side),
        (257, 4, side),
        (258, 3, 8),
        (259, 3, 8),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, side),
    )
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in (*tags, (279, 4, len(strip))))
    return b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + struct.pack("<H", 9) + entries + bytes(4)


def _clip_seeds(folder: Path) -> Sequence[Path]:
    import cv2
    import PIL.Image

    frames = [PIL.Image.fromarray(np.roll(_ROWS, 3 * n, axis=0)) for n in range(4)]
    for name in ("gif", "single", "h264", "mpeg4", "avi"):
        (folder / name).mkdir(parents=True)
    frames[0].save(folder / "gif/a.gif", save_all=True, append_images=frames[1:], duration=80)
    frames[0].save(folder / "single/a.gif")
    cine = Path(__file__).parents[1] / "studies" / "data" / "cine.mp4"
    (folder / "h264/a.mp4").write_bytes(cine.read_bytes())
    for name, code in (("mpeg4/a.mp4", "mp4v"), ("avi/a.avi", "MJPG")):
        film = cv2.VideoWriter(str(folder / name), cv2.VideoWriter_fourcc(*code), 25, (32, 24))
        for n in range(4):
            film.write(np.roll(np.full((24, 32, 3), 50, np.uint8), n, axis=0) + np.uint8(20 * n))
        film.release()
    return [next(sub.iterdir()) for sub in sorted(folder.iterdir())]


def _clip_field(path: Path, rng: Random) -> str:
    """Sizes and counts of a GIF's screen and pictures, or of a film's boxes and tables."""
    data = path.read_bytes()
    if data[:4] == b"GIF8":
        starts = [6, 8, *(n + 5 for n in range(13, len(data) - 10) if data[n] == 0x2C)]
        place, raw = rng.choice(starts), struct.pack("<H", min(rng.choice(_LENGTHS), 65535))
    else:
        kinds = (b"stsz", b"stco", b"stsc", b"stts", b"mvhd", b"mdhd", b"tkhd", b"avc1", b"avcC", b"mp4v", b"esds",
        b"elst",
                 b"trun", b"idx1", b"avih", b"strh", b"strf", b"moov", b"trak", b"mdat", b"ctts", b"stss")  # fmt: skip
        starts = [data.find(kind) for kind in kinds if kind in data] or [0]
        place = max(0, rng.choice(starts) - 4 + 4 * rng.randrange(12) + rng.choice((0, 0, 2)))
        raw = struct.pack(">I" if data[:4] != b"RIFF" else "<I", rng.choice(_LENGTHS))
    path.write_bytes(data[:place] + raw + data[place + len(raw) :])
    return f"bytes at {place} set to {raw.hex()}"


def _gif_bomb(path: Path, rng: Random) -> str:
    """A screen of many pixels with thousands of tiny pictures on it."""
    side, count = rng.choice(((13_000, 3), (4000, 500), (65_535, 1), (100, 30_000)))
    picture = b"\x2c" + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02\x44\x01\x00"
    head = b"GIF89a" + struct.pack("<HHBBB", side, side, 0x80, 0, 0) + bytes(6)
    path.write_bytes(head + picture * count + b";")
    return f"{count} pictures on {side} squared pixels"


def _npz_seeds(folder: Path) -> Sequence[Path]:
    rows = np.arange(2 * 5 * 6, dtype=np.uint8).reshape(2, 5, 6)
    for name in ("one", "several", "stored"):
        (folder / name).mkdir(parents=True)
    np.savez_compressed(folder / "one/a.npz", images=rows[:1])
    np.savez_compressed(folder / "several/a.npz", images=rows, masks=rows // 30, colours=np.stack([rows] * 3, axis=-1))
    np.savez(folder / "stored/a.npz", images=rows[:1].astype(np.float32))
    return [next(sub.iterdir()) for sub in sorted(folder.iterdir())]


def _npz_calls(path: Path) -> Iterator[tuple[str, Call]]:
    from osler.studies.formats import read_image

    yield from image_calls(path)
    yield "read_image(key, index)", lambda: read_image(path, key="images", index=0)


_SHAPES = ("(1, 5, 6)", "(100000, 100000, 100000)", "(-1, 5, 6)", "(1, 9000, 9000)", "()", "(0, 5, 6)", "(1,) * 9", "5",
           "(" * 500, "(2**70, 1, 1)", "(99999999999999999999999999, 1, 1)", "(1, 5, 6, 7, 8, 9)",
           "(True, 5, 6)")  # fmt: skip
_DESCRS = (
    "'|u1'",
    "'|O'",
    "'<f8'",
    "'<U9'",
    "'|V30'",
    "'<c16'",
    "'<M8[s]'",
    "'nonsense'",
    "[('a', '|O')]",
    "'|S99999999'",
)


def _npz_header(path: Path, rng: Random) -> str:
    """A member whose header says something else than it holds; or that is compressed in a rare way, or lies."""
    shape, descr = rng.choice(_SHAPES), rng.choice(_DESCRS if rng.random() < 0.5 else _DESCRS[:1])
    text = f"{{'descr': {descr}, 'fortran_order': {rng.choice(('False', 'True', '7'))}, 'shape': {shape}, }}".encode()
    length = rng.choice((len(text), len(text), len(text), 65535, 0))
    member = b"\x93NUMPY" + bytes([rng.choice((1, 1, 1, 2, 3, 9)), 0]) + struct.pack("<H", length) + text + bytes(30)
    method = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name in rng.choice(
            (("images.npy",), ("images.npy", "images"), ("images",), ("../images.npy", "images.npy"))
        ):
            archive.writestr(name, member)
    path.write_bytes(buffer.getvalue())
    return f"a member {text.decode()[:80]}"


def _npz_pickle(path: Path, rng: Random) -> str:
    rows = np.array([{"a": 1}, print] if rng.random() < 0.5 else [[1], None], dtype=object)
    np.savez(path, images=rows)
    return "an array of objects"


def _npz_bomb(path: Path, rng: Random) -> str:
    count = rng.choice((50, 400, 500, 3000))
    head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({count}, 1024, 1024), }}".encode()
    member = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head
    size = len(member) + (count << 20)
    body = zeros("deflate", size, member)
    crc, name = rng.randrange(2**32), b"images.npy"
    local = struct.pack("<4sHHHHHIIIHH", b"PK\3\4", 20, 0, 8, 0, 33, crc, len(body), size, len(name), 0) + name
    entry = (b"PK\1\2", 20, 20, 0, 8, 0, 33, crc, len(body), size, len(name), 0, 0, 0, 0, 0, 0)
    central = struct.pack("<4sHHHHHHIIIHHHHHII", *entry) + name
    start = len(local) + len(body)
    end = struct.pack("<4sHHHHIIH", b"PK\5\6", 0, 0, 1, 1, len(central), start, 0)
    path.write_bytes(local + body + central + end)
    return f"a bomb of {count} MiB"


RASTER = Target("raster", _raster_seeds, (_by_kind,), image_calls, bombs=(_picture_bomb,))
SLIDE = Target("slide", _slide_seeds, (_by_kind,), _slide_calls, bombs=(_picture_bomb,))
CLIP = Target("clip", _clip_seeds, (_clip_field,), image_calls, bombs=(_gif_bomb,))
NPZ = Target("npz", _npz_seeds, (_npz_header, _npz_header, _npz_pickle), _npz_calls, bombs=(_npz_bomb,))
