"""Studies spread over a Ray that the tests start on this machine."""

from __future__ import annotations

import csv
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest

from osler.errors import MissingExtra, UsageError
from osler.progress import Silent
from osler.studies.formats import write_image
from osler.studies.image import Image
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds

DEADLY = """
    import io, os, signal, sys

    opened = io.open

    def deadly(file, *arguments, **settings):
        if "deadly" in str(file) and any("default_worker" in word for word in sys.orig_argv):
            os.kill(os.getpid(), signal.SIGKILL)
        return opened(file, *arguments, **settings)

    io.open = deadly
"""


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("m") / "seg", make_plan(names=("bright",)), *thresholds(1.0))


@pytest.fixture
def volumes(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(6):
        array = np.full((1, 20, 18, 16), 10, np.float32)
        array[0, 2 : 5 + n, 2:8, 2:8] = 150
        write_image(Image(array, np.diag([-1.0, -1, 1, 1])), folder / f"v{n}.nii.gz")
    return folder


class _Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


def _table(folder):
    rows = csv.DictReader((folder / "summary.csv").open())
    return {row.pop("study"): {k: v for k, v in row.items() if k not in ("seconds", "peak_mb")} for row in rows}


def test_workers_need_an_address_and_an_output(segmenter, volumes, tmp_path):
    with pytest.raises(UsageError, match="no place for workers"):
        predict(segmenter, volumes, output=tmp_path / "out", workers="dask://here")
    with pytest.raises(UsageError, match="write their results themselves"):
        predict(segmenter, volumes, workers="ray")


def test_without_ray_the_install_command_is_told(segmenter, volumes, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"pip install 'osler\[cluster\]'"):
        predict(segmenter, volumes, output=tmp_path / "out", workers="ray")
    assert not (tmp_path / "out" / "summary.csv").exists()


@pytest.mark.slow
def test_a_local_ray_gives_what_one_process_gives_and_names_the_study_that_kills_workers(
    segmenter, volumes, tmp_path, monkeypatch
):
    pytest.importorskip("ray")
    (tmp_path / "deadly").mkdir()
    (tmp_path / "deadly" / "sitecustomize.py").write_text(textwrap.dedent(DEADLY))
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'deadly'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
    predict(segmenter, volumes, output=tmp_path / "alone")
    shutil.copy(volumes / "v3.nii.gz", volumes / "v3-deadly.nii.gz")
    (volumes / "v9.nii.gz").write_bytes(b"nothing")
    told = _Told()
    found = predict(segmenter, volumes, output=tmp_path / "out", workers="ray", threads=1, progress=told)
    assert set(found.failed) == {"v3-deadly", "v9"}
    assert "the worker that worked on it" in found.failed["v3-deadly"]
    assert "died and again" in found.failed["v3-deadly"]
    assert "v9.nii.gz" in found.failed["v9"]
    assert any(line.startswith("v3-deadly: the worker on ") for line in told.lines)
    assert [one.study for one in found] == [f"v{n}" for n in range(6)]
    table = _table(tmp_path / "out")
    assert {name: row for name, row in table.items() if row["status"] == "ok"} == _table(tmp_path / "alone")
    for n in range(6):
        one, other = (tmp_path / where / f"v{n}" / "mask.nii.gz" for where in ("out", "alone"))
        assert one.read_bytes() == other.read_bytes()
    (volumes / "v3-deadly.nii.gz").unlink()
    (volumes / "v9.nii.gz").unlink()
    again = predict(segmenter, volumes, output=tmp_path / "out", resume=True)  # what workers did is known here
    assert all(study.before for study in again.studies)


@pytest.fixture
def cluster():
    """A head node with its client server, as ``ray start`` makes it; its address, and what a driver's process needs."""
    pytest.importorskip("ray")
    pytest.importorskip("grpc")
    folder = tempfile.mkdtemp(prefix="ray")  # sockets lie in it, whose paths may not be long
    ports = []
    for _ in range(2):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            ports.append(one.getsockname()[1])
    settings = {
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_CLIENT_SERVER_CHECK_CHANNEL_TIMEOUT_S": "180",  # busy cores start a driver's server slowly
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
    }
    ray = Path(sys.executable).with_name("ray")
    head = subprocess.Popen(
        [ray, "start", "--head", "--block", f"--port={ports[0]}", f"--ray-client-server-port={ports[1]}",
         "--num-cpus=2", "--include-dashboard=false", f"--temp-dir={folder}"],
        env=os.environ | settings, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for _ in range(200):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", ports[1])) == 0:
                break
        time.sleep(0.1)
    yield f"ray://127.0.0.1:{ports[1]}", os.environ | settings
    head.send_signal(signal.SIGTERM)
    head.wait(30)
    shutil.rmtree(folder, ignore_errors=True)


def _predicted(model, studies, output, cluster, **changes):
    """``osler predict --workers`` in a process of its own: Ray keeps the token that a process began with."""
    address, environment = cluster
    command = [sys.executable, "-m", "osler", "predict", model, studies, "--output", output, "--workers", address]
    return subprocess.run(
        [*command, "--threads", "1"],
        env=environment | changes,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.mark.slow
def test_a_cluster_is_joined_by_its_address_and_token(segmenter, volumes, tmp_path, cluster):
    ended = _predicted(segmenter.path, volumes, tmp_path / "out", cluster)
    assert ended.returncode == 0, ended.stderr
    assert {row["status"] for row in _table(tmp_path / "out").values()} == {"ok"}
    assert len(_table(tmp_path / "out")) == 6


@pytest.mark.slow
def test_a_cluster_with_another_token_is_refused_with_what_to_do(segmenter, volumes, tmp_path, cluster):
    ended = _predicted(segmenter.path, volumes, tmp_path / "out", cluster, RAY_AUTH_TOKEN=secrets.token_hex(32))
    assert ended.returncode != 0
    assert "RAY_AUTH_TOKEN" in ended.stderr
