"""Reads what ``torch.save`` wrote, without torch, and without running anything of it.

A checkpoint is a ZIP archive: ``data.pkl`` and one file of raw numbers per storage. A pickle is a program, and loading
one runs it. Here nothing of Python's ``pickle`` runs: its opcodes are only listed (``pickletools.genops``), and the
small interpreter below carries out those that make tensors and plain values. The few names that a checkpoint calls have
their meaning written down here (``_CALLS``); every other name is refused by name.
"""

from __future__ import annotations

import math
import pickletools
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np

from osler.errors import ModelError, PathNotFound
from osler.studies.geometry import Array

__all__ = ["StoredTensor", "TorchFile"]

_STORAGES = {
    "DoubleStorage": "f8",
    "FloatStorage": "f4",
    "HalfStorage": "f2",
    "BFloat16Storage": "bf16",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_DTYPE = re.compile(r"[<>=|]?(?:\?|b1|[iuf][1248])")
_MOST_DIMENSIONS = 16
_DAMAGED = (AttributeError, IndexError, KeyError, OverflowError, RecursionError, TypeError, ValueError)
"""What following the opcodes of a damaged pickle can end in."""


@dataclass(frozen=True)
class StoredTensor:
    """Where a tensor lies: ``shape``, and what ``TorchFile.read`` needs to fetch it."""

    shape: tuple[int, ...]
    kind: str
    key: str
    numbers: int
    offset: int
    strides: tuple[int, ...]


class TorchFile:
    """The story: opened, ``content`` looked at, tensors read one by one, left.

    Args:
        path: what ``torch.save`` (1.6 or newer) wrote.

    Raises:
        PathNotFound: when there is no such file.
        ModelError: when it is of another format, damaged, or names anything but tensors and plain values.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._archive = _open(path)
        try:
            self._folder, self._order = self._layout()
            self.content = _Interpreter(self._bytes("data.pkl"), path.name).run()
        except (ModelError, *_DAMAGED):
            self._archive.close()
            raise

    def __enter__(self) -> TorchFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def read(self, tensor: StoredTensor) -> Array:
        """The numbers of a tensor, C-contiguous; bfloat16, which NumPy lacks, as float32.

        Raises:
            ModelError: when the file does not hold them.
        """
        numbers = "u2" if tensor.kind == "bf16" else tensor.kind
        dtype = np.dtype(numbers).newbyteorder(self._order)
        data = self._bytes(f"data/{tensor.key}")
        last = tensor.offset + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.strides, strict=True))
        count = math.prod(tensor.shape)
        if len(data) < tensor.numbers * dtype.itemsize or count > tensor.numbers or (count and last >= tensor.numbers):
            raise _damaged(self.path.name, f"storage {tensor.key} is too short")
        flat = np.frombuffer(data, dtype, tensor.numbers)[tensor.offset :]
        view = np.lib.stride_tricks.as_strided(flat, tensor.shape, [s * dtype.itemsize for s in tensor.strides])
        array = np.array(view, dtype=dtype.newbyteorder("="), order="C")
        return (array.astype(np.uint32) << 16).view(np.float32) if tensor.kind == "bf16" else array

    def _layout(self) -> tuple[str, Literal["<", ">"]]:
        """The folder inside the archive, and its byte order as NumPy writes it."""
        found = [name for name in self._archive.namelist() if name.endswith("/data.pkl")]
        if len(found) != 1:
            raise _damaged(self.path.name, f"it holds {len(found)} files data.pkl instead of one")
        folder = found[0].removesuffix("data.pkl")
        order = "little"
        if f"{folder}byteorder" in self._archive.namelist():
            order = self._archive.read(f"{folder}byteorder").decode("ascii", "replace")
        if order not in ("little", "big"):
            raise _damaged(self.path.name, f"its byte order is {order!r}")
        return folder, "<" if order == "little" else ">"

    def _bytes(self, name: str) -> bytes:
        try:
            info = self._archive.getinfo(self._folder + name)
            if info.compress_type != zipfile.ZIP_STORED:  # torch never compresses; a small file could fill the memory
                raise _damaged(self.path.name, f"{name} is compressed")
            return self._archive.read(info)
        except (KeyError, RuntimeError, zipfile.BadZipFile, EOFError) as error:
            raise _damaged(self.path.name, f"{name} is missing or broken") from error


def _open(path: Path) -> zipfile.ZipFile:
    if not path.is_file():
        raise PathNotFound(f"no checkpoint at {path}", remedy="check the spelling")
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, ValueError) as error:
        with path.open("rb") as stream:
            legacy = stream.read(2) == b"\x80\x02"
        if legacy:
            raise ModelError(
                f"{path.name} is in the format that torch wrote before version 1.6, which is not read",
                remedy="load it where you trust it with a newer torch, and save it again",
            ) from error
        raise _damaged(path.name, "it is no ZIP archive") from error


def _damaged(name: str, what: str) -> ModelError:
    return ModelError(f"{name} is no whole torch checkpoint ({what})", remedy="copy it again from where it came")


@dataclass(frozen=True)
class _Name:
    """A name that the pickle refers to; never imported."""

    text: str


@dataclass(frozen=True)
class _Storage:
    kind: str
    key: str
    numbers: int


class _Dtype:
    """A NumPy number type, which a pickle makes in two steps: its name, then its byte order."""

    def __init__(self, text: str) -> None:
        if not isinstance(text, str) or not _DTYPE.fullmatch(text):
            raise TypeError(f"{text!r} is no type of plain numbers")
        self.dtype = np.dtype(text)

    def build(self, state: Any) -> None:
        """State 1 of ``numpy.dtype.__setstate__`` is the byte order."""
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


class _Interpreter:
    """Follows a pickle's opcodes with a stack and a memo, as the pickle machine does, but knows only harmless ones."""

    def __init__(self, pickle: bytes, name: str) -> None:
        self._pickle, self._file = pickle, name
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def run(self) -> Any:
        """What the pickle describes."""
        try:
            for opcode, argument, _ in pickletools.genops(self._pickle):
                if opcode.name == "STOP":
                    return self._stack.pop()
                if opcode.name in _CONSTANTS:
                    self._stack.append(argument)
                elif opcode.name in _STEPS:
                    _STEPS[opcode.name](self, argument)
                else:
                    raise self._refused(f"uses the pickle instruction {opcode.name}")
        except _DAMAGED as error:
            raise _damaged(self._file, f"its pickle ends in: {error}") from error
        raise _damaged(self._file, "its pickle has no end")

    def _refused(self, what: str) -> ModelError:
        return ModelError(
            f"{self._file} {what}, which is neither a tensor nor a plain value; nothing of it was run",
            remedy="do not load this file; ask its maker for the weights alone",
        )

    def _marked(self) -> list[Any]:
        """What was pushed since the last mark."""
        first = self._marks.pop()
        items = self._stack[first:]
        del self._stack[first:]
        return items

    def mark(self, _: Any) -> None:
        """MARK."""
        self._marks.append(len(self._stack))

    def put(self, number: Any) -> None:
        """PUT and MEMOIZE: remember the top of the stack."""
        self._memo[len(self._memo) if number is None else number] = self._stack[-1]

    def get(self, number: Any) -> None:
        """GET."""
        self._stack.append(self._memo[number])

    def tuple_of(self, count: int | None) -> None:
        """TUPLE, TUPLE1 to TUPLE3."""
        if count is None:
            items = self._marked()
        else:
            items = self._stack[-count:]
            del self._stack[-count:]
        self._stack.append(tuple(items))

    def extend(self, items: list[Any]) -> None:
        """APPEND and APPENDS."""
        target = self._stack[-1]
        if not isinstance(target, list):
            raise TypeError("items are appended to what is no list")
        target += items

    def set_items(self, items: list[Any]) -> None:
        """SETITEM and SETITEMS."""
        target = self._stack[-1]
        if not isinstance(target, dict):
            raise TypeError("items are set in what is no dictionary")
        target.update(zip(items[::2], items[1::2], strict=True))

    def name(self, text: str) -> None:
        """GLOBAL: allowed names become a ``_Name``; they are not imported."""
        dotted = text.replace(" ", ".", 1)
        module, _, last = dotted.rpartition(".")
        if dotted not in _CALLS and not (module == "torch" and last in _STORAGES):
            raise self._refused(f"calls for {dotted}")
        self._stack.append(_Name(dotted))

    def call(self, _: Any) -> None:
        """REDUCE: carry out what an allowed name means."""
        arguments = self._stack.pop()
        called = self._stack.pop()
        if not isinstance(called, _Name) or called.text not in _CALLS:
            raise self._refused(f"calls {getattr(called, 'text', type(called).__name__)}")
        self._stack.append(_CALLS[called.text](*arguments))

    def build(self, _: Any) -> None:
        """BUILD: gives a number type its byte order; attributes of dictionaries are dropped."""
        state, target = self._stack.pop(), self._stack[-1]
        if isinstance(target, _Dtype):
            target.build(state)
        elif not isinstance(target, dict):
            raise self._refused(f"sets attributes of a {type(target).__name__}")

    def storage(self, _: Any) -> None:
        """BINPERSID: ("storage", type, key, device, numbers)."""
        word, kind, key, _device, numbers = self._stack.pop()
        if word != "storage" or not isinstance(kind, _Name) or not isinstance(key, str) or not isinstance(numbers, int):
            raise self._refused("refers to an object outside the pickle")
        self._stack.append(_Storage(_STORAGES[kind.text.removeprefix("torch.")], key, numbers))

    def pop(self) -> Any:
        """The top of the stack."""
        return self._stack.pop()

    def push(self, value: Any) -> None:
        """Onto the stack."""
        self._stack.append(value)


def _rebuild_tensor(storage: _Storage, offset: int, shape: Any, strides: Any, *_: Any) -> StoredTensor:
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Storage) or any(type(n) is not int or n < 0 for n in numbers):
        raise TypeError("a tensor without storage, or with a shape that is none")
    if len(shape) != len(strides) or len(shape) > _MOST_DIMENSIONS:
        raise TypeError(f"a tensor of {len(shape)} dimensions and {len(strides)} strides")
    return StoredTensor(tuple(shape), storage.kind, storage.key, storage.numbers, offset, tuple(strides))


def _scalar(dtype: _Dtype, data: bytes) -> Any:
    return np.frombuffer(data, dtype.dtype)[0].item()


def _encode(text: str, encoding: str) -> bytes:
    if encoding != "latin1":  # how Python 2's protocol writes bytes; other codecs can do more than encode
        raise ValueError(f"bytes in the encoding {encoding!r}")
    return text.encode("latin1")


_CALLS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": lambda pairs=(): dict(pairs),
    "torch._utils._rebuild_tensor_v2": _rebuild_tensor,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch.Size": tuple,
    "torch.device": lambda *parts: ":".join(str(part) for part in parts),
    "numpy.dtype": lambda text, *_: _Dtype(text),
    "numpy.core.multiarray.scalar": _scalar,
    "numpy._core.multiarray.scalar": _scalar,
    "_codecs.encode": _encode,
}
_CONSTANTS = {
    *("BININT", "BININT1", "BININT2", "INT", "LONG", "LONG1", "LONG4", "BINFLOAT", "FLOAT"),
    *("BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "UNICODE"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BINSTRING", "SHORT_BINSTRING"),
}
_STEPS: dict[str, Callable[[_Interpreter, Any], None]] = {
    "PROTO": lambda machine, _: None,
    "FRAME": lambda machine, _: None,
    "MARK": _Interpreter.mark,
    "NONE": lambda machine, _: machine.push(None),
    "NEWTRUE": lambda machine, _: machine.push(True),
    "NEWFALSE": lambda machine, _: machine.push(False),
    "EMPTY_DICT": lambda machine, _: machine.push({}),
    "EMPTY_LIST": lambda machine, _: machine.push([]),
    "EMPTY_TUPLE": lambda machine, _: machine.push(()),
    "TUPLE": lambda machine, _: machine.tuple_of(None),
    "TUPLE1": lambda machine, _: machine.tuple_of(1),
    "TUPLE2": lambda machine, _: machine.tuple_of(2),
    "TUPLE3": lambda machine, _: machine.tuple_of(3),
    "APPEND": lambda machine, _: machine.extend([machine.pop()]),
    "APPENDS": lambda machine, _: machine.extend(machine._marked()),
    "SETITEM": lambda machine, _: machine.set_items([machine.pop(), machine.pop()][::-1]),
    "SETITEMS": lambda machine, _: machine.set_items(machine._marked()),
    "PUT": _Interpreter.put,
    "BINPUT": _Interpreter.put,
    "LONG_BINPUT": _Interpreter.put,
    "MEMOIZE": _Interpreter.put,
    "GET": _Interpreter.get,
    "BINGET": _Interpreter.get,
    "LONG_BINGET": _Interpreter.get,
    "GLOBAL": _Interpreter.name,
    "STACK_GLOBAL": lambda machine, _: machine.name(" ".join([machine.pop(), machine.pop()][::-1])),
    "REDUCE": _Interpreter.call,
    "BUILD": _Interpreter.build,
    "BINPERSID": _Interpreter.storage,
}
