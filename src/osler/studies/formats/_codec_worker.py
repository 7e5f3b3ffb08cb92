"""A process that decompresses frames for ``_dicom_codec``, so that a decoder which crashes, hangs or eats memory takes
only this process with it. It runs as a script and imports nothing of Osler.

Requests on standard input and answers on standard output: four bytes with the length of a JSON object, the object, and
as many bytes of data as its ``bytes`` says.
"""

from __future__ import annotations

import contextlib
import json
import math
import struct
import sys
import time
import zlib
from typing import Any, BinaryIO

import numpy as np

__all__ = ["decode", "main"]


def decode(kind: str, data: bytes, request: dict[str, Any]) -> Any:
    """One frame: (rows, columns) or (rows, columns, samples).

    Args:
        kind: "jpeg", "jpegls", "jpeg2k", "jpegxl", "rle" or "deflate".
        data: the compressed frame.
        request: ``rows``, ``columns``, ``samples``, ``bits`` (allocated) and ``space``: the colour space of a JPEG,
            "RGB" or "YCBCR", or "" for grey.

    Raises:
        ValueError, RuntimeError: when it cannot be decoded.
    """
    import imagecodecs

    if kind == "rle":
        return _from_planes(imagecodecs.dicomrle_decode(data, _dtype(request)), request)
    if kind == "deflate":
        return _from_pixels(_inflated(data, _size(request)), request)
    if kind == "jpegls":
        return imagecodecs.jpegls_decode(data)
    if kind == "jpegxl":
        return imagecodecs.jpegxl_decode(data)
    if kind == "jpeg2k":
        return imagecodecs.jpeg2k_decode(data, numthreads=1)
    # Without an end after the last scan the decoder would fill the rest with grey; scans cannot hold the marker itself.
    if data.rfind(b"\xff\xd9") < data.rfind(b"\xff\xda"):
        raise ValueError("the compressed pixels are cut off")
    if not request["space"]:
        return imagecodecs.jpeg_decode(data)
    return imagecodecs.jpeg_decode(data, colorspace=request["space"], outcolorspace="RGB")


def _dtype(request: dict[str, Any]) -> Any:
    return np.dtype(f"u{request['bits'] // 8}")


def _size(request: dict[str, Any]) -> int:
    return int(request["rows"] * request["columns"] * request["samples"] * request["bits"] // 8)


def _inflated(data: bytes, size: int) -> bytes:
    return zlib.decompressobj(-zlib.MAX_WBITS).decompress(data, size)


def _from_planes(data: Any, request: dict[str, Any]) -> Any:
    if len(data) < _size(request):
        raise ValueError("the compressed pixels are cut off")
    count = request["rows"] * request["columns"] * request["samples"]
    planes = np.frombuffer(data, _dtype(request), count).reshape(
        request["samples"], request["rows"], request["columns"]
    )
    return planes[0] if len(planes) == 1 else np.moveaxis(planes, 0, -1)


def _from_pixels(data: bytes, request: dict[str, Any]) -> Any:
    if len(data) < _size(request):
        raise ValueError("the compressed pixels are cut off")
    shape = (request["rows"], request["columns"], *([request["samples"]] if request["samples"] > 1 else []))
    return np.frombuffer(data, _dtype(request), math.prod(shape)).reshape(shape)


def _limit(request: dict[str, Any], base: int) -> None:
    """Bound the process: address space over what it had at the start, and processor time over what it has used."""
    try:
        import resource
    except ImportError:  # not on Windows: there only the caller's time limit holds
        return
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_AS, (base + request["memory"], resource.RLIM_INFINITY))
        seconds = math.ceil(time.process_time()) + math.ceil(request["seconds"])
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, resource.RLIM_INFINITY))


def _address_space() -> int:
    """Bytes of address space in use; a guess where the system does not tell."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[0]) * 4096
    except OSError:
        return 1 << 30


def _exactly(stream: BinaryIO, count: int) -> bytes:
    data = stream.read(count)
    if len(data) < count:
        raise EOFError
    return data


def _answer(stream: BinaryIO, head: dict[str, Any], data: Any = b"") -> None:
    text = json.dumps(head).encode()
    stream.write(struct.pack("<I", len(text)) + text)
    stream.write(data)
    stream.flush()


def main(source: BinaryIO, sink: BinaryIO) -> None:
    """Say that it is ready with one byte, and answer requests until the caller goes away."""
    import imagecodecs  # before the limits: what it maps does not count

    imagecodecs.jpeg2k_version()
    base = _address_space()
    sink.write(b"!")
    sink.flush()
    while True:
        try:
            request = json.loads(_exactly(source, struct.unpack("<I", _exactly(source, 4))[0]))
            data = _exactly(source, request["bytes"])
        except EOFError:
            return
        _limit(request, base + len(data))
        try:
            frame = np.ascontiguousarray(decode(request["kind"], data, request))
            head = {"shape": frame.shape, "dtype": frame.dtype.newbyteorder("=").str, "bytes": frame.nbytes}
            _answer(sink, head, frame.data)
        except MemoryError:
            _answer(sink, {"error": "it needs more memory than its size allows", "bytes": 0})
        except (ValueError, RuntimeError, TypeError, LookupError, ArithmeticError, OSError, zlib.error) as error:
            _answer(sink, {"error": str(error) or type(error).__name__, "bytes": 0})


if __name__ == "__main__":
    main(sys.stdin.buffer, sys.stdout.buffer)
