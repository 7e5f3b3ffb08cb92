"""Checkpoints are read without running them: whatever is no tensor or plain value is refused."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from osler.errors import ModelError, PathNotFound
from osler.models.torch_file import StoredTensor, TorchFile


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None, **settings: int) -> Path:
    """A file as torch.save lays it out, with any pickle."""
    with zipfile.ZipFile(path, "w", **settings) as file:  # type: ignore[arg-type]
        file.writestr("model/data.pkl", pickled)
        file.writestr("model/byteorder", "little")
        for key, data in (storages or {}).items():
            file.writestr(f"model/data/{key}", data)
    return path


class Payload:
    """Unpickles to a call."""

    def __init__(self, *call: object) -> None:
        self._call = call

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self._call[0], self._call[1:]  # type: ignore[return-value]


def test_tensors_and_values_are_those_of_torch(tmp_path: Path) -> None:
    whole = torch.arange(24, dtype=torch.float32).reshape(2, 3, 4)
    content = {
        "network_weights": OrderedDict(
            plain=whole,
            turned=whole.transpose(0, 2),
            part=whole[1, 1:],
            half=torch.tensor([1.5, -2.0], dtype=torch.float16),
            brain=torch.tensor([1.0, 3.140625, -2e30], dtype=torch.bfloat16),
            count=torch.tensor(7),
            flags=torch.tensor([True, False]),
            none=torch.zeros(0, 3),
            learnt=torch.nn.Parameter(torch.ones(2)),
        ),
        "best": np.float64(0.25),
        "steps": np.int64(5),
        "device": torch.device("cuda", 1),
        "shape": torch.Size([1, 2]),
        "nested": [1, -300, 1 << 40, 2.5, "ü", None, True, (1,), (), {"a": (1, 2, 3, 4)}],
    }
    torch.save(content, tmp_path / "a.pth")
    with TorchFile(tmp_path / "a.pth") as file:
        found = file.content
        assert found["nested"] == content["nested"]
        assert (found["best"], found["steps"], found["device"], found["shape"]) == (0.25, 5, "cuda:1", (1, 2))
        for name, tensor in content["network_weights"].items():  # type: ignore[union-attr]
            expected = tensor.detach().float().numpy() if tensor.dtype == torch.bfloat16 else tensor.detach().numpy()
            got = file.read(found["network_weights"][name])
            np.testing.assert_array_equal(got, expected)
            assert got.dtype == expected.dtype


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_a_command_in_a_pickle_is_refused_by_name_and_not_run(tmp_path: Path, protocol: int) -> None:
    marker = tmp_path / "was-run"
    pickled = pickle.dumps({"network_weights": Payload(os.system, f"touch {marker}")}, protocol=protocol)
    path = archive(tmp_path / "evil.pth", pickled)
    with pytest.raises(ModelError, match=r"calls for (posix|nt)\.system.*nothing of it was run"):
        TorchFile(path)
    assert not marker.exists()


@pytest.mark.parametrize(
    "call", [(eval, "1"), (exec, "x=1"), (getattr, "a", "upper"), (__import__, "os"), (io.open, "/etc/passwd")]
)
def test_every_other_name_is_refused(tmp_path: Path, call: tuple[object, ...]) -> None:
    path = archive(tmp_path / "evil.pth", pickle.dumps(Payload(*call), protocol=2))
    with pytest.raises(ModelError, match="neither a tensor nor a plain value"):
        TorchFile(path)


@pytest.mark.parametrize(
    ("pickled", "match"),
    [
        (b"\x80\x02cos\nsystem\n.", r"calls for os\.system"),
        (b"\x80\x02}X\x01\x00\x00\x00ac__builtin__\neval\ns.", r"calls for __builtin__\.eval"),
        (b"\x80\x02c_codecs\nencode\nX\x01\x00\x00\x00aX\x03\x00\x00\x00rot\x86R.", "encoding 'rot'"),
        (b"\x80\x02cnumpy\ndtype\nX\x01\x00\x00\x00O\x85R.", "'O' is no type of plain numbers"),
        (b"\x80\x02ccollections\nOrderedDict\n}b.", "sets attributes of a _Name"),
        (b"\x80\x02]]\x81.", "instruction NEWOBJ"),
        (b"(i__main__\nX\np0\n.", "instruction INST"),
        (b"\x80\x02]q\x00.", None),
        (b"\x80\x02.", "no whole torch checkpoint"),
        (b"\x80\x02K\x01", "no whole torch checkpoint"),
        (b"", "no whole torch checkpoint"),
        (b"garbage", "no whole torch checkpoint"),
        (b"\x80\x02}]K\x01s.", "no whole torch checkpoint"),
    ],
)
def test_opcodes_are_followed_or_refused(tmp_path: Path, pickled: bytes, match: str | None) -> None:
    path = archive(tmp_path / "a.pth", pickled)
    if match is None:
        assert TorchFile(path).content == []
        return
    with pytest.raises(ModelError, match=match):
        TorchFile(path)


def test_a_changed_pickle_ends_in_a_refusal_or_in_values(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(3), "b": [np.float32(1), "x"], "c": torch.device("cpu")}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        good = file.read("a/data.pkl")

    @given(st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), min_size=1, max_size=4))
    @settings(max_examples=150, deadline=None)
    def follow(changes: list[tuple[int, int]]) -> None:
        data = bytearray(good)
        for place, value in changes:
            data[place] = value
        path = archive(tmp_path / "b.pth", bytes(data), {"0": b"\0" * 12})
        try:
            with TorchFile(path) as file:
                for value in file.content.values() if isinstance(file.content, dict) else ():
                    if isinstance(value, StoredTensor):
                        file.read(value)
        except ModelError:
            return

    follow()


def test_a_storage_that_is_too_short_is_refused(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(30)}, tmp_path / "a.pth")
    with zipfile.ZipFile(tmp_path / "a.pth") as file:
        pickled = file.read("a/data.pkl")
    with (
        TorchFile(archive(tmp_path / "b.pth", pickled, {"0": b"\0" * 100})) as file,
        pytest.raises(ModelError, match="too short"),
    ):
        file.read(file.content["a"])
    with TorchFile(archive(tmp_path / "c.pth", pickled)) as file, pytest.raises(ModelError, match="missing or broken"):
        file.read(file.content["a"])


@pytest.mark.parametrize(
    "tensor",
    [
        StoredTensor((1000, 1000, 1000), "f4", "0", 30, 0, (0, 0, 0)),  # a view that would fill the memory
        StoredTensor((31,), "f4", "0", 30, 0, (1,)),
        StoredTensor((2, 15), "f4", "0", 30, 1, (15, 1)),
    ],
)
def test_a_view_beyond_its_storage_is_refused(tmp_path: Path, tensor: StoredTensor) -> None:
    torch.save({"a": torch.ones(30)}, tmp_path / "a.pth")
    with TorchFile(tmp_path / "a.pth") as file, pytest.raises(ModelError, match="too short"):
        file.read(tensor)


def test_a_compressed_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.pth", pickle.dumps({}, 2), compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(ModelError, match="is compressed"):
        TorchFile(path)


def test_the_format_before_torch_1_6_is_told_apart(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    with pytest.raises(ModelError, match=r"before version 1\.6"):
        TorchFile(tmp_path / "old.pth")


def test_what_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"PK but not really")
    with pytest.raises(ModelError, match="no ZIP archive"):
        TorchFile(tmp_path / "a.pth")
    with pytest.raises(PathNotFound, match="no checkpoint"):
        TorchFile(tmp_path / "b.pth")


def test_a_real_checkpoint_reads_as_torch_reads_it(shared: Path) -> None:
    place = shared / "nnunet-hippocampus" / "Dataset004_Hippocampus"
    path = place / "nnUNetTrainer_5epochs__nnUNetPlans__3d_fullres" / "fold_all" / "checkpoint_best.pth"
    expected = torch.load(path, map_location="cpu", weights_only=False)  # ours, and known
    with TorchFile(path) as file:
        assert file.content["trainer_name"] == expected["trainer_name"]
        weights = file.content["network_weights"]
        assert list(weights) == list(expected["network_weights"])
        for name in list(weights)[::17]:
            np.testing.assert_array_equal(file.read(weights[name]), expected["network_weights"][name].numpy())
