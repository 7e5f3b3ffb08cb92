"""A run over many studies that was stopped, or killed, goes on where it was."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from osler.errors import OutputExists, UsageError
from osler.findings.finding import Findings
from osler.progress import CancelToken, Silent
from osler.studies.formats import read_image, write_image
from osler.studies.image import Image
from osler.workflows.predict import predict
from tiny_models import make_model, make_plan, thresholds

STUDIES = 5


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    plan = make_plan(names=("bright",))
    return make_model(tmp_path_factory.mktemp("m") / "seg", plan, *thresholds(1.0))


@pytest.fixture
def volumes(tmp_path):
    """Cubes of growing size."""
    folder = tmp_path / "in"
    folder.mkdir()
    for n in range(STUDIES):
        array = np.full((1, 20, 18, 16), 10, np.float32)
        array[0, 2 : 5 + n, 2:8, 2:8] = 150
        write_image(Image(array, np.diag([-1.0, -1, 1, 1])), folder / f"v{n}.nii.gz")
    return folder


def _table(folder):
    rows = csv.DictReader((folder / "summary.csv").open())
    return {row.pop("study"): {k: v for k, v in row.items() if k not in ("seconds", "peak_mb")} for row in rows}


def _results(folder):
    """What is there under a final name, as it can be read; what was written before is told by its time."""
    found = {}
    for study in sorted(path for path in folder.iterdir() if path.is_dir()):
        for file in study.iterdir():
            if file.name.startswith("."):
                continue
            if file.suffix == ".json":
                found[study.name, file.name] = Findings.model_validate_json(file.read_text()).answer
            elif file.suffix == ".gz":
                found[study.name, file.name] = int(read_image(file).array.sum())
            else:
                read_image(file)
                found[study.name, file.name] = None
    return found


def _times(folder):
    return {path.parent.name: path.stat().st_mtime_ns for path in folder.glob("*/findings.json")}


class _StopAfter(Silent):
    def __init__(self, token, count):
        self.token, self.left, self.lines = token, count, []

    def advance(self, stage, amount=1.0, note=""):
        self.left -= 1
        if self.left == 0:
            self.token.cancel()

    def say(self, message):
        self.lines.append(message)


def test_a_stopped_run_goes_on_and_its_table_is_whole(segmenter, volumes, tmp_path):
    for n in range(STUDIES, 60):
        shutil.copy(volumes / f"v{n % STUDIES}.nii.gz", volumes / f"v{n}.nii.gz")
    token = CancelToken()
    first = predict(segmenter, volumes, output=tmp_path / "out", progress=_StopAfter(token, 2), cancel=token)
    assert 2 <= len(first) < 60
    assert first.unreached
    before = _times(tmp_path / "out")
    told = _StopAfter(token, 0)
    second = predict(segmenter, volumes, output=tmp_path / "out", resume=True, progress=told)
    assert told.lines[0] == f"{len(first)} of 60 studies were finished by an earlier run"
    assert [one.study for one in second] == sorted(f"v{n}" for n in range(60))
    assert [study.before for study in second.studies] == [True] * len(first) + [False] * (60 - len(first))
    assert second.summary()[0] == f"60 of 60 studies predicted, {len(first)} of them by an earlier run"
    predict(segmenter, volumes, output=tmp_path / "whole")
    assert _table(tmp_path / "out") == _table(tmp_path / "whole")
    assert _results(tmp_path / "out") == _results(tmp_path / "whole")
    after = _times(tmp_path / "out")
    assert all(after[name] == when for name, when in before.items())


def test_a_finished_run_that_is_continued_does_nothing(segmenter, volumes, tmp_path):
    predict(segmenter, volumes, output=tmp_path / "out")
    before, table = _times(tmp_path / "out"), (tmp_path / "out" / "summary.csv").read_text()
    again = predict(segmenter, volumes, output=tmp_path / "out", resume=True)
    assert len(again) == STUDIES
    assert again[0].answer == ["bright"]
    assert _times(tmp_path / "out") == before
    assert (tmp_path / "out" / "summary.csv").read_text() == table


def test_continuing_where_nothing_is_begins(segmenter, volumes, tmp_path):
    assert len(predict(segmenter, volumes, output=tmp_path / "out", resume=True)) == STUDIES


def test_a_study_whose_file_has_changed_or_whose_result_is_gone_is_done_again(segmenter, volumes, tmp_path):
    out = tmp_path / "out"
    predict(segmenter, volumes, output=out)
    before = _times(out)
    shutil.copy(volumes / "v4.nii.gz", volumes / "v0.nii.gz")
    (out / "v1" / "findings.json").unlink()
    (out / "v2" / "mask.nii.gz").write_bytes(b"")
    (volumes / "v5.nii.gz").write_bytes((volumes / "v3.nii.gz").read_bytes())
    again = predict(segmenter, volumes, output=out, resume=True)
    assert {study.name for study in again.studies if study.before} == {"v3", "v4"}
    after = _times(out)
    assert {name for name in before if before[name] == after[name]} == {"v3", "v4"}
    predict(segmenter, volumes, output=tmp_path / "whole")
    assert _results(out) == _results(tmp_path / "whole")
    assert _table(out) == _table(tmp_path / "whole")


def test_a_study_that_failed_is_tried_again(segmenter, volumes, tmp_path):
    whole = (volumes / "v2.nii.gz").read_bytes()
    (volumes / "v2.nii.gz").write_bytes(whole[:50])
    assert list(predict(segmenter, volumes, output=tmp_path / "out").failed) == ["v2"]
    assert list(predict(segmenter, volumes, output=tmp_path / "out", resume=True).failed) == ["v2"]
    (volumes / "v2.nii.gz").write_bytes(whole)
    assert len(predict(segmenter, volumes, output=tmp_path / "out", resume=True)) == STUDIES


def test_what_comes_from_another_model_or_other_settings_is_refused(segmenter, volumes, tmp_path):
    out = tmp_path / "out"
    predict(segmenter, volumes, output=out)
    before = _times(out)
    with pytest.raises(OutputExists, match=r"other settings \(every_window was false\)"):
        predict(segmenter, volumes, output=out, resume=True, every_window=True)
    other = make_model(tmp_path / "other", make_plan(names=("bright",)), *thresholds(1.2))
    with pytest.raises(OutputExists, match=r"results of another model \(seg\)"):
        predict(other, volumes, output=out, resume=True)
    with pytest.raises(OutputExists, match="holds results already"):
        predict(segmenter, volumes, output=out)
    with pytest.raises(UsageError, match="exclude each other"):
        predict(segmenter, volumes, output=out, resume=True, force=True)
    assert _times(out) == before


def test_results_of_which_nothing_is_known_are_not_continued(segmenter, volumes, tmp_path):
    predict(segmenter, volumes, output=tmp_path / "out")
    (tmp_path / "out" / "finished.jsonl").unlink()
    with pytest.raises(OutputExists, match="v0 holds results already"):
        predict(segmenter, volumes, output=tmp_path / "out", resume=True)


def test_force_forgets_what_was_finished(segmenter, volumes, tmp_path):
    predict(segmenter, volumes, output=tmp_path / "out")
    before = _times(tmp_path / "out")
    again = predict(segmenter, volumes, output=tmp_path / "out", force=True)
    assert not any(study.before for study in again.studies)
    assert all(when > before[name] for name, when in _times(tmp_path / "out").items())


def test_what_is_written_down_names_no_file(segmenter, volumes, tmp_path):
    predict(segmenter, volumes, output=tmp_path / "out")
    text = (tmp_path / "out" / "finished.jsonl").read_text()
    assert len(text.splitlines()) == STUDIES + 1
    assert str(volumes) not in text
    assert json.loads(text.splitlines()[0])["digest"] == segmenter.info.digest


KILLED = """
    import os, signal, sys
    from pathlib import Path
    from osler.workflows import finished
    from osler.workflows.predict import predict

    model, source, output, moment = sys.argv[1:5]
    left = int(sys.argv[5])

    def perhaps(here):
        global left
        if here == moment:
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    write, replace, append = Path.write_bytes, Path.replace, finished._append

    def half_written(self, data):
        if moment == "half" and self.name.endswith(".part"):
            write(self, data[: len(data) // 2])
            perhaps("half")
        return write(self, data)

    def replaced(self, target):
        perhaps("before")
        found = replace(self, target)
        perhaps("after")
        return found

    def appended(path, text):
        if moment == "line":
            append(path, text[: len(text) // 2])
            perhaps("line")
            os.truncate(path, path.stat().st_size - len(text) // 2)
        append(path, text)
        perhaps("appended")

    Path.write_bytes, Path.replace, finished._append = half_written, replaced, appended
    predict(model, source, output=output, resume=True)
"""


@pytest.mark.parametrize(
    ("moment", "count"),
    [("half", 1), ("half", 5), ("half", 9), ("before", 7), ("after", 1), ("after", 6), ("line", 1), ("line", 3),
     ("appended", 2)],
)  # fmt: skip
def test_killed_at_any_moment_nothing_half_written_stays_and_the_run_goes_on(
    segmenter, volumes, tmp_path, moment, count
):
    out = tmp_path / "out"
    script = tmp_path / "killed.py"
    script.write_text(textwrap.dedent(KILLED))
    arguments = [segmenter.path, volumes, out, moment, str(count)]
    ended = subprocess.run([sys.executable, str(script), *map(str, arguments)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    whole = tmp_path / "whole"
    predict(segmenter, volumes, output=whole)
    expected = _results(whole)
    assert _results(out).items() <= expected.items()
    predict(segmenter, volumes, output=out, resume=True)
    assert _results(out) == expected
    assert _table(out) == _table(whole)
    assert not [path for path in out.rglob("*") if path.name.endswith(".part")]


@pytest.mark.slow
def test_a_command_that_is_killed_again_and_again_ends_where_one_that_was_not_does(segmenter, volumes, tmp_path):
    for n in range(STUDIES, 60):
        shutil.copy(volumes / f"v{n % STUDIES}.nii.gz", volumes / f"v{n}.nii.gz")
    command = [sys.executable, "-m", "osler", "predict", segmenter.path, volumes, "--output", tmp_path / "out"]
    for tenths in range(8, 28, 3):
        running = subprocess.Popen([*map(str, command), "--continue"], stderr=subprocess.DEVNULL)
        try:
            running.wait(tenths / 10)
        except subprocess.TimeoutExpired:
            os.kill(running.pid, signal.SIGKILL)
            running.wait()
    last = subprocess.run([*map(str, command), "--continue"], check=False)
    assert last.returncode == 0
    predict(segmenter, volumes, output=tmp_path / "whole")
    assert _results(tmp_path / "out") == _results(tmp_path / "whole")
    assert _table(tmp_path / "out") == _table(tmp_path / "whole")
    assert not list(Path(tmp_path / "out").rglob(".*"))
