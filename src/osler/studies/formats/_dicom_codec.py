"""Decompression of frames in worker processes that are bound in time and memory.

Decoders are C code that reads what strangers wrote. A worker (``_codec_worker``) is started when the first compressed
frame is met and lives as long as this process; what it costs is one start (about 0.2 s) and a copy of each frame
through a pipe. One that crashes, takes too long or answers nonsense is ended and replaced, and the frame is refused.
"""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import queue
import select
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from osler.studies.geometry import Array

__all__ = ["Frame", "decode_frame"]

_SCRIPT = Path(__file__).with_name("_codec_worker.py")
_MOST_WORKERS = 4
_LARGEST = 1 << 30  # bytes of one decoded frame
_LARGE, _RATIO = 1 << 26, 1000  # blank frames of 64 MiB and more are not seen, and decoders take several times the size
_MEMORY, _TIMES = 1 << 28, 6  # 256 MiB and six times the frame: what decoders were seen to need is three times
_SECONDS, _PIXELS_PER_SECOND = 3.0, 1e6  # of processor time; decoders do 5 to 100 million pixels
_START = 120.0  # seconds that a worker may take to start
_PATIENCE = 10  # wall clock over processor time: a busy machine is no fault of the file
_NAMES = {
    "jpeg": "JPEG",
    "jpegls": "JPEG-LS",
    "jpeg2k": "JPEG 2000",
    "jpegxl": "JPEG XL",
    "rle": "RLE",
    "deflate": "deflate",
}


@dataclass(frozen=True)
class Frame:
    """What a frame's header says it is.

    Args:
        kind: codec, see ``_codec_worker.decode``.
        rows, columns, samples: its shape.
        bits: allocated for one sample.
        space: colour space of a JPEG, "" for grey.
    """

    kind: str
    rows: int
    columns: int
    samples: int
    bits: int
    space: str = ""

    @property
    def size(self) -> int:
        """Bytes of the decoded frame."""
        return self.rows * self.columns * self.samples * -(-self.bits // 8)


def decode_frame(data: bytes, frame: Frame) -> Array:
    """Decompress one frame.

    Args:
        data: the compressed frame.
        frame: its header.

    Returns:
        (rows, columns) or (rows, columns, samples) in the dtype that the codec holds.

    Raises:
        ValueError: when it cannot be decoded within the limits, or is of another size than the header says.
    """
    if frame.size > _LARGEST:
        raise ValueError(f"one frame of {frame.columns}×{frame.rows} pixels takes more than {_LARGEST >> 20} MiB")
    if frame.size > _LARGE and frame.size > _RATIO * len(data):
        raise ValueError(f"one frame of {frame.columns}×{frame.rows} pixels cannot be held by {len(data):,} bytes")
    seconds = _SECONDS + frame.rows * frame.columns * frame.samples / _PIXELS_PER_SECOND
    request = {**asdict(frame), "memory": _MEMORY + _TIMES * frame.size, "seconds": seconds, "bytes": len(data)}
    with _worker() as worker:
        head, content = worker.ask(request, data, seconds * _PATIENCE, frame)
    if "error" in head:
        raise ValueError(f"its {_NAMES[frame.kind]} pixels cannot be decoded: {head['error']}")
    array = np.frombuffer(content, np.dtype(head["dtype"])).reshape(head["shape"])
    expected = (frame.rows, frame.columns) if frame.samples == 1 else (frame.rows, frame.columns, frame.samples)
    if array.shape != expected:
        raise ValueError(f"its pixels have shape {array.shape} and the header says {expected}")
    return array


class _Broken(Exception):
    """The worker ended, or did not answer in time."""


class _Worker:
    """One process, used by one thread at a time."""

    def __init__(self) -> None:
        environment = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")}
        self._process = subprocess.Popen(
            [sys.executable, "-P", str(_SCRIPT)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise OSError("the decoding process has no pipes")
        self._in, self._out = self._process.stdin.fileno(), self._process.stdout.fileno()
        os.set_blocking(self._in, False)
        os.set_blocking(self._out, False)
        try:
            self._receive(1, time.monotonic() + _START)  # so that its start does not count against a frame
        except _Broken as error:
            self.end()
            raise ValueError("the process that decodes pixels does not start") from error

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def end(self) -> None:
        """Kill it and close its pipes."""
        with contextlib.suppress(OSError):
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()

    def ask(self, request: dict[str, Any], data: bytes, seconds: float, frame: Frame) -> tuple[dict[str, Any], Any]:
        """Send a request and wait for its answer.

        Raises:
            ValueError: when the process crashes, hangs or answers nonsense; it is dead then.
        """
        text = json.dumps(request).encode()
        until = time.monotonic() + seconds
        try:
            self._send(memoryview(struct.pack("<I", len(text)) + text), until)
            self._send(memoryview(data), until)
            head = json.loads(bytes(self._receive(struct.unpack("<I", self._receive(4, until))[0], until)))
            if not 0 <= head["bytes"] <= _LARGEST * 2:
                raise _Broken
            return head, self._receive(head["bytes"], until)
        except (_Broken, OSError, KeyError, ValueError) as error:
            late = time.monotonic() >= until
            self.end()
            raise ValueError(f"the {_NAMES[frame.kind]} decoder {self._cause(late)} on its pixels") from error

    def _cause(self, late: bool) -> str:
        if late or self._process.returncode == -signal.SIGXCPU:
            return "took too long"
        return f"crashed (signal {-self._process.returncode})" if self._process.returncode < 0 else "failed"

    def _send(self, data: memoryview, until: float) -> None:
        while data:
            self._wait(self._in, select.POLLOUT, until)
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(self._in, data) :]

    def _receive(self, count: int, until: float) -> bytearray:
        result = bytearray(count)
        view = memoryview(result)
        while view:
            self._wait(self._out, select.POLLIN, until)
            with contextlib.suppress(BlockingIOError):
                got = os.readv(self._out, [view])
                if got == 0:
                    self._process.wait()
                    raise _Broken
                view = view[got:]
        return result

    def _wait(self, descriptor: int, event: int, until: float) -> None:
        poll = select.poll()
        poll.register(descriptor, event)
        if not poll.poll(max(until - time.monotonic(), 0) * 1000):
            raise _Broken


class _Pool:
    """Workers waiting for use, and places for more."""

    def __init__(self) -> None:
        self.free: queue.LifoQueue[_Worker | None] = queue.LifoQueue()
        self.all: list[_Worker] = []
        for _ in range(min(_MOST_WORKERS, os.cpu_count() or 1)):
            self.free.put(None)


_pools: dict[int, _Pool] = {}  # by process: a forked child must not talk through its parent's pipes


def _pool() -> _Pool:
    process = os.getpid()
    if process not in _pools:
        _pools.setdefault(process, _Pool())
        atexit.register(_end_all)
    return _pools[process]


@contextlib.contextmanager
def _worker() -> Iterator[_Worker]:
    pool = _pool()
    worker = pool.free.get()
    try:
        if worker is None or not worker.alive:
            if worker is not None:
                pool.all.remove(worker)
            worker = _Worker()
            pool.all.append(worker)
        yield worker
    except BaseException:
        if worker is not None:
            worker.end()  # interrupted halfway through an answer, its pipe holds the rest of it
        raise
    finally:
        pool.free.put(worker)


def _end_all() -> None:
    for worker in _pools[os.getpid()].all if os.getpid() in _pools else []:
        worker.end()
