"""What a prediction will take is said before it runs."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest

from osler.cli import main
from osler.datasets.plan import GridPlan
from osler.errors import UsageError
from osler.inference.constants import Constants, constants_of, known_constants, learn
from osler.inference.engines.openvino import OpenVinoEngine
from osler.inference.need import Header, need_of
from osler.inference.predictor import Predictor
from osler.progress import Silent
from osler.studies.discovery import find_studies
from osler.workflows.estimate import Gauge
from osler.workflows.predict import estimate, predict
from osler.workflows.sizes import format_size, parse_size
from tiny_models import make_model, make_plan, thresholds


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory):
    plan = make_plan(names=("bright",), grid=GridPlan(resize="spacing", spacing=(1.0, 1.0, 2.0), orientation="RAS"))
    return make_model(tmp_path_factory.mktemp("m") / "seg", plan, *thresholds(1.0))


def _volume(path, shape, spacing=(1.0, 1.0, 1.0)):
    array = np.random.default_rng(0).integers(0, 300, shape).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(array, np.diag([*spacing, 1.0])), path)
    return path


class _Told(Silent):
    def __init__(self):
        self.lines = []

    def say(self, message):
        self.lines.append(message)


@pytest.mark.parametrize(
    ("shape", "spacing", "windows"),
    [
        ((16, 16, 32), (1, 1, 1), 1),  # 16 × 16 × 16 on the working grid
        ((40, 16, 32), (1, 1, 1), 4),
        ((10, 10, 10), (1, 1, 1), 1),
        ((40, 24, 40), (1, 1, 2), 4 * 2 * 4),
    ],
)
def test_windows_are_counted_by_the_header_and_are_those_that_run(
    segmenter, tmp_path, monkeypatch, shape, spacing, windows
):
    path, runs = _volume(tmp_path / "v.nii.gz", shape, spacing), []
    affine = np.diag([*spacing, 1.0])
    assert need_of(Header(shape, affine), segmenter.plan, blended=2).windows == windows
    run = OpenVinoEngine.run

    def counted(self, inputs):
        runs.append(len(inputs["image"]))
        return run(self, inputs)

    monkeypatch.setattr(OpenVinoEngine, "run", counted)
    predict(segmenter, path, every_window=True)
    assert sum(runs) == windows


def test_what_is_held_grows_with_the_plane_and_hardly_with_the_number_of_planes(segmenter):
    affine = np.eye(4)
    few, many, wide = (
        need_of(Header(shape, affine, 2), segmenter.plan, blended=2).held
        for shape in ((256, 256, 100), (256, 256, 400), (512, 512, 100))
    )
    assert many - few == pytest.approx(4 * 256 * 256 * 300, rel=0.02)  # the image and its mask; windows overlap less
    assert wide > 2.5 * few


def test_of_what_is_read_plane_by_plane_nothing_that_is_held_grows_with_the_planes(segmenter, tmp_path):
    few, many = (
        need_of(Header((256, 256, planes), np.eye(4), 2, by_plane=True), segmenter.plan, blended=2)
        for planes in (100, 400)
    )
    assert few.waits == many.waits
    assert many.held == pytest.approx(few.held, rel=0.02)  # windows of many planes overlap a little less
    (plain,) = find_studies([_volume(tmp_path / "a.nii.gz", (20, 20, 20))])
    assert plain.by_plane


def test_an_estimate_writes_nothing_and_is_told_for_people_and_machines(segmenter, tmp_path, capsys):
    paths = [_volume(tmp_path / "a.nii.gz", (20, 20, 20)), _volume(tmp_path / "b.nii.gz", (64, 64, 64))]
    assert main(["predict", str(segmenter.path), *map(str, paths), "--estimate"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("a: 4 windows, about ")
    assert lines[-1].startswith("2 studies: at most about ")
    assert main(["predict", str(segmenter.path), *map(str, paths), "--estimate", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    small, large = told["studies"]
    assert 0 < small["seconds"] < large["seconds"] <= told["seconds"]
    assert small["peak_bytes"] < large["peak_bytes"] == told["peak_bytes"] < told["room_bytes"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.nii.gz", "b.nii.gz", "cache"]


def test_a_network_is_measured_once_on_a_machine(segmenter, tmp_path, monkeypatch):
    path = _volume(tmp_path / "a.nii.gz", (20, 20, 20))
    first = estimate(segmenter, path)
    assert len(list((tmp_path / "cache" / "constants").iterdir())) == 1
    monkeypatch.setattr(Predictor, "try_out", lambda self, items: pytest.fail("measured again"))
    assert estimate(segmenter, path).seconds == first.seconds
    with Predictor(segmenter, threads=1) as predictor:
        assert known_constants(predictor) is None  # other settings are measured apart


def test_a_cache_that_is_off_damaged_or_cannot_be_written_does_no_harm(segmenter, tmp_path, monkeypatch, cache):
    path = _volume(tmp_path / "a.nii.gz", (20, 20, 20))
    estimate(segmenter, path)
    (kept,) = (cache / "constants").iterdir()
    kept.write_text("{")
    assert estimate(segmenter, path).studies[0].windows == 4
    monkeypatch.setenv("OSLER_CACHE", "off")
    assert estimate(segmenter, path).studies[0].windows == 4
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("OSLER_CACHE", str(tmp_path / "file"))
    assert estimate(segmenter, path).studies[0].windows == 4


def test_a_study_that_does_not_fit_is_refused_with_the_figure_and_the_others_go_on(segmenter, tmp_path):
    paths = [_volume(tmp_path / "small.nii.gz", (16, 16, 16)), tmp_path / "large.nii.gz"]
    nibabel.save(nibabel.Nifti1Image(np.zeros((1024, 1024, 24), np.int16), np.eye(4)), paths[1])
    estimates = estimate(segmenter, paths)
    small, large = estimates.studies
    between = (small.peak + large.peak) // 2
    found = predict(segmenter, paths, output=tmp_path / "out", memory=between)
    assert [one.study for one in found] == ["small"]
    assert list(found.failed) == ["large"]
    assert "predicting it needs about" in found.failed["large"]
    assert f"there are {format_size(between)}" in found.failed["large"]
    assert "say with --memory that it may have" in found.failed["large"]
    refused = estimate(segmenter, paths, memory=between)
    assert not refused.all_fit
    assert refused.summary()[1].endswith("does not fit")


def test_batches_become_as_small_as_memory_asks_for(segmenter, tmp_path):
    path = _volume(tmp_path / "a.nii.gz", (64, 64, 64))
    told = _Told()
    with Predictor(segmenter) as predictor:
        assert predictor.usual_batch == 16
        constants = Constants(window_s=0.1, first_bytes=10**8, batch_bytes=16 * 10**8)
        roomy = Gauge(predictor, constants, memory=4 * 10**9, base=10**8)
        roomy.check(_found(path))
        assert predictor.most_at_once is None
        tight = Gauge(predictor, constants, memory=9 * 10**8, base=10**8, say=told.say)
        (study,) = tight.estimates([_found(path)]).studies
        assert study.batch == 4
        rest = 64**3 * constants.rest_voxel_s + constants.rest_study_s
        assert study.seconds == pytest.approx(study.windows * 0.1 + rest)
        tight.check(_found(path))
        assert predictor.most_at_once == 4
        assert told.lines == ["memory is scarce (900 MB): from a on, at most 4 at once go through the network"]


def _found(path):
    return find_studies([path])[0]


def test_what_a_run_took_beside_the_network_is_learnt(segmenter):
    with Predictor(segmenter) as predictor:
        constants = constants_of(predictor)
        learn(predictor, constants, seconds=10 * constants.window_s + 4.0, windows=10, voxels=2_000_000)
        known = known_constants(predictor)
        assert known.window_s == constants.window_s  # too few windows went through
        assert known.rest_voxel_s == pytest.approx(2e-6)
        learn(predictor, known, seconds=10 * constants.window_s + 8.0, windows=10, voxels=2_000_000)
        assert known_constants(predictor).rest_voxel_s == pytest.approx(3e-6)
        learn(predictor, constants, seconds=10 * constants.window_s + 6.0, windows=10, voxels=1000, small=12)
        assert known_constants(predictor).rest_study_s == pytest.approx(0.5)


def test_a_trial_on_a_busy_machine_is_corrected_by_the_first_run(segmenter, tmp_path):
    path = _volume(tmp_path / "a.nii.gz", (160, 160, 100))
    true = estimate(segmenter, path)
    (kept,) = (tmp_path / "cache" / "constants").iterdir()
    wrong = Constants.model_validate_json(kept.read_bytes()).model_copy(update={"window_s": 10.0})
    kept.write_text(wrong.model_dump_json())
    assert estimate(segmenter, path).seconds > 1000
    predict(segmenter, path)
    assert estimate(segmenter, path).seconds < max(20.0, 20 * true.seconds)


def test_a_long_run_says_before_it_begins_what_it_will_take(segmenter, tmp_path):
    path, told = _volume(tmp_path / "a.nii.gz", (80, 80, 64)), _Told()
    predict(segmenter, path, progress=told)
    assert told.lines[0].startswith("1 study: at most about ")
    short = _Told()
    predict(segmenter, _volume(tmp_path / "b.nii.gz", (16, 16, 16)), threads=1, progress=short)
    assert short.lines == []  # with one thread it was never measured, and so little is not worth it


def test_without_output_a_prediction_is_refused_but_for_an_estimate(segmenter, tmp_path, capsys):
    path = _volume(tmp_path / "a.nii.gz", (16, 16, 16))
    assert main(["predict", str(segmenter.path), str(path)]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.parametrize(("text", "size"), [("8g", 8 << 30), ("500m", 500 << 20), ("1.5 GiB", 3 << 29), ("64k", 65536)])
def test_amounts_of_memory_are_read(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["8", "g", "-1g", "0g", "8 apples"])
def test_an_amount_without_a_unit_is_refused(text):
    with pytest.raises(UsageError, match="no amount of memory"):
        parse_size(text)
