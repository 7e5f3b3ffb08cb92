"""Compiled graphs on disk: found again, never wrong, never too many."""

from __future__ import annotations

import os
import threading

import numpy as np
import pytest

from osler.cache import cache_folder
from osler.inference.engines import graph_cache, make_engine
from tiny_models import make_plan, pointwise_graph

WEIGHTS, BIAS = np.array([[1.0], [-2.0], [0.5]]), np.array([0.0, 1.0, -1.0])


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "graphs"


@pytest.fixture
def graph(tmp_path):
    pointwise_graph(tmp_path / "g.xml", make_plan(dimensions=2), WEIGHTS, BIAS)
    return tmp_path / "g.xml"


def _answer(graph, batch=1, **settings):
    engine = make_engine("openvino")
    engine.load(graph, threads=2, **settings)
    image = np.random.default_rng(0).normal(size=(batch, 1, 16, 16)).astype(np.float32)
    answer = engine.run({"image": image})["logits"]
    engine.release()
    return answer


def _fetched(key):
    found = graph_cache.fetch(key)
    return None if found is None else found.tobytes()


def _blobs(folder):
    return sorted(folder.glob("*.blob")) if folder.is_dir() else []


def test_what_was_kept_is_found_again_bit_for_bit():
    graph_cache.keep("key", b"compiled" * 1000)
    assert _fetched("key") == b"compiled" * 1000
    assert graph_cache.fetch("other") is None


def test_a_compiled_graph_answers_the_same_as_a_kept_one(graph, folder):
    first = _answer(graph)
    assert len(_blobs(folder)) == 1
    np.testing.assert_array_equal(_answer(graph), first)
    assert len(_blobs(folder)) == 1


def test_a_kept_graph_goes_on_when_its_file_is_taken_away_or_replaced(graph, folder):
    image = np.random.default_rng(0).normal(size=(1, 1, 16, 16)).astype(np.float32)
    first = _answer(graph)
    engine = make_engine("openvino")
    engine.load(graph, threads=2)
    np.testing.assert_array_equal(engine.run({"image": image})["logits"], first)
    (path,) = _blobs(folder)
    graph_cache.keep(path.stem, bytes(path.stat().st_size))
    path.unlink()
    for size in (16, 24, 16):  # made anew for another size, and for the first one again
        answer = engine.run({"image": np.resize(image, (1, 1, size, size))})["logits"]
        assert answer.shape[-1] == size
    np.testing.assert_array_equal(answer, first)
    engine.release()


@pytest.mark.parametrize("damage", ["cut", "flipped", "emptied", "nonsense"])
def test_a_damaged_file_is_made_again(graph, folder, damage):
    first = _answer(graph)
    (path,) = _blobs(folder)
    whole = path.read_bytes()
    middle = len(whole) // 2
    flipped = whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :]
    path.write_bytes({"cut": whole[:-7], "flipped": flipped, "emptied": b"", "nonsense": b"x" * 500}[damage])
    np.testing.assert_array_equal(_answer(graph), first)
    assert path.read_bytes() == whole


def test_what_the_engine_no_longer_takes_is_made_again(graph, folder):
    first = _answer(graph)
    (path,) = _blobs(folder)
    graph_cache.keep(path.stem, b"whole, and no graph")
    np.testing.assert_array_equal(_answer(graph), first)
    assert _fetched(path.stem) != b"whole, and no graph"


def test_other_weights_precisions_and_outputs_are_kept_apart(graph, folder, tmp_path):
    exact = _answer(graph)
    _answer(graph, precision="bf16")
    assert len(_blobs(folder)) == 2
    pointwise_graph(graph, make_plan(dimensions=2), 2 * WEIGHTS, 2 * BIAS)
    np.testing.assert_allclose(_answer(graph), 2 * exact, rtol=1e-5)
    assert len(_blobs(folder)) == 3


def test_nothing_is_kept_where_the_cache_is_off(graph, folder, monkeypatch):
    monkeypatch.setenv("OSLER_CACHE", "off")
    _answer(graph)
    assert cache_folder() is None
    assert not folder.exists()


def test_a_cache_that_cannot_be_written_costs_nothing(graph, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "file"))
    assert np.isfinite(_answer(graph)).all()


def test_a_file_that_others_may_write_is_not_used():
    graph_cache.keep("key", b"compiled")
    place = cache_folder() / "graphs" / "key.blob"
    assert place.stat().st_mode & 0o077 == 0
    place.chmod(0o666)
    assert graph_cache.fetch("key") is None


def test_the_files_used_last_stay(monkeypatch, folder):
    monkeypatch.setattr(graph_cache, "_MOST_BYTES", 400)
    for number, key in enumerate(("a", "b", "c")):
        graph_cache.keep(key, b"x" * 100)
        os.utime(folder / f"{key}.blob", (number, number))
    assert graph_cache.fetch("a") is not None  # used now, so b is the oldest
    graph_cache.keep("d", b"x" * 100)
    assert [path.stem for path in _blobs(folder)] == ["a", "c", "d"]


def test_a_graph_that_would_fill_the_cache_is_not_kept(monkeypatch, folder):
    monkeypatch.setattr(graph_cache, "_MOST_BYTES", 100)
    graph_cache.keep("large", b"x" * 60)
    assert not _blobs(folder)


def test_a_process_that_is_killed_leaves_nothing_under_the_name(monkeypatch, folder):
    def killed(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr("pathlib.Path.replace", killed)
    with pytest.raises(KeyboardInterrupt):
        graph_cache.keep("key", b"compiled")
    assert graph_cache.fetch("key") is None


def test_many_threads_keep_one_graph_whole():
    threads = [threading.Thread(target=graph_cache.keep, args=("key", b"compiled" * 10_000)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _fetched("key") in (b"compiled" * 10_000, None)


def test_the_place_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("OSLER_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder() == tmp_path / "osler"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder().name == "osler"
