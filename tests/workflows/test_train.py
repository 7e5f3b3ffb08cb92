"""The whole way of training, on small data."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

import osler
from osler.datasets.preparation import Prepared, prepare
from osler.errors import DatasetError, ModelError, OutputExists, PathNotFound, PlanError, TooFew
from osler.inference.predictor import Predictor
from osler.models.folder import Model, sha256_of
from osler.progress import CancelToken, Silent
from osler.studies.formats import read_image
from osler.studies.geometry import Array
from osler.workflows.train import TrainResult, train


def write_classes(folder: Path, *, count: int = 24, classes: tuple[str, ...] = ("dark", "light")) -> Path:
    random_numbers = np.random.default_rng(0)
    for value, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for n in range(count):
            pixels = random_numbers.normal(90, 20, (24, 24))
            if value:
                pixels[6:14, 6 + n % 4 : 16] += 60
            Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / name / f"{name}{n:03}.png")
    return folder


def write_masks(folder: Path, *, count: int = 16) -> Path:
    random_numbers = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(count):
        mask = np.zeros((32, 32), np.uint8)
        i, j = random_numbers.integers(4, 18, 2)
        mask[i : i + 9, j : j + 9] = 255
        pixels = random_numbers.normal(80, 12, mask.shape) + (mask > 0) * 70
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"s{n:03}.png")
        Picture.fromarray(mask).save(folder / "masks" / f"s{n:03}.png")
    return folder


@pytest.fixture(scope="module")
def classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_classes(tmp_path_factory.mktemp("classes") / "data")


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks") / "data")


@pytest.fixture(scope="module")
def classified(classes: Path, tmp_path_factory: pytest.TempPathFactory) -> TrainResult:
    return train(classes, output=tmp_path_factory.mktemp("model") / "m", steps=60, device="cpu")


def digest_of_weights(model: Path) -> str:
    return sha256_of(model / "weights" / "member0.safetensors")


def test_a_folder_of_classes_becomes_a_verified_model_that_has_learnt(classified: TrainResult) -> None:
    assert classified.model is not None
    assert classified.evaluation is not None
    assert classified.model.verify().faults == ()
    auc = classified.evaluation.metrics["auc"]
    assert auc.value is not None
    assert auc.value > 0.9
    assert auc.low is not None


def test_every_file_of_a_model_may_be_read_by_whoever_may_read_the_others(classified: TrainResult) -> None:
    assert classified.model is not None
    modes = {path.stat().st_mode & 0o777 for path in classified.model.path.rglob("*") if path.is_file()}
    assert len(modes) == 1


def test_the_run_folder_holds_page_curves_and_splits_and_no_checkpoint(classified: TrainResult) -> None:
    run = classified.run_folder
    for part in ("evaluation/index.html", "evaluation/metrics.json", "fold0/curves.png", "splits.json", "plan.json"):
        assert (run / part).is_file(), part
    assert list(run.rglob("*.pt")) == []
    assert not (run / "prepared").exists()


def test_a_model_folder_names_no_case(classified: TrainResult, classes: Path) -> None:
    assert classified.model is not None
    names = [path.stem for path in classes.rglob("*.png")]
    for path in classified.model.path.rglob("*"):
        if path.suffix in (".json", ".md"):
            text = path.read_text()
            assert not any(name in text for name in names), path


def test_a_trained_model_predicts_a_new_study(classified: TrainResult, classes: Path, tmp_path: Path) -> None:
    assert classified.model is not None
    image = next((classes / "light").iterdir())
    found = osler.predict(classified.model.path, image, output=tmp_path / "out")
    assert found[0].answer in ("dark", "light")
    assert (tmp_path / "out" / image.stem / "findings.json").is_file()


def test_evaluating_leaves_out_what_the_model_has_seen(classified: TrainResult, classes: Path, tmp_path: Path) -> None:
    assert classified.model is not None
    evaluated = osler.evaluate(classified.model.path, classes, output=tmp_path / "e")
    assert evaluated.evaluation.cases == classified.model.info.data.test


def test_two_runs_with_one_seed_are_the_same_bit_for_bit(masks: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        train(masks, output=tmp_path / name, steps=6, device="cpu", overrides=SMALL_MASKS)
    assert digest_of_weights(tmp_path / "one") == digest_of_weights(tmp_path / "two")


SMALL_MASKS = {
    "network.features": "[4,4,4,4]",
    "network.strides": "[[1,1],[2,2],[2,2],[2,2]]",
    "network.blocks": "[1,1,1,1]",
}


class StopAfter(Silent):
    """Asks for a stop once training has advanced so often."""

    def __init__(self, count: int, cancel: CancelToken) -> None:
        self.count, self.cancel = count, cancel

    def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
        if stage == "training":
            self.count -= 1
            if self.count == 0:
                self.cancel.cancel()


def test_a_stop_leaves_the_best_model_so_far(masks: Path, tmp_path: Path) -> None:
    cancel = CancelToken()
    result = train(
        masks,
        output=tmp_path / "m",
        steps=500,
        device="cpu",
        overrides=SMALL_MASKS,
        cancel=cancel,
        progress=StopAfter(5, cancel),
    )
    assert result.stopped_early
    assert result.model is not None
    assert result.model.verify().faults == ()
    assert result.model.info.members[0].steps < 10


def test_a_run_limited_by_time_can_be_repeated_exactly(masks: Path, tmp_path: Path) -> None:
    result = train(masks, output=tmp_path / "timed", budget=8.0, device="cpu", overrides=SMALL_MASKS)
    assert result.model is not None
    assert result.model.plan.pace[0][0] == 0
    train(
        masks,
        output=tmp_path / "again",
        plan_file=tmp_path / "timed" / "plan.json",
        steps=_steps(tmp_path),
        device="cpu",
    )
    assert digest_of_weights(tmp_path / "timed") == digest_of_weights(tmp_path / "again")


def _steps(folder: Path) -> int:
    return Model.open(folder / "timed").info.members[0].steps


def test_cross_validation_measures_every_case_once_and_ships_the_ensemble(masks: Path, tmp_path: Path) -> None:
    result = train(masks, output=tmp_path / "m", steps=4, folds=3, device="cpu", overrides=SMALL_MASKS)
    assert result.model is not None
    assert result.evaluation is not None
    assert len(result.model.info.members) == 3
    assert result.evaluation.cases == 16
    held_out = result.model.info.data.held_out
    assert sorted(held_out) == [0, 1, 2]
    assert len({digest for digests in held_out.values() for digest in digests}) == 16


def test_an_ensemble_answers_with_the_mean_of_its_members(classes: Path, tmp_path: Path) -> None:
    result = train(classes, output=tmp_path / "m", steps=6, device="cpu", overrides={"batch": 4, "members": 3})
    assert result.model is not None
    assert [member.fold for member in result.model.info.members] == [None] * 3
    prepared = _prepared(result.model, classes / "light" / "light003.png")
    alone = [_logits(result.model, prepared, (number,)) for number in range(3)]
    assert len({tuple(row) for row in alone}) == 3
    np.testing.assert_allclose(_logits(result.model, prepared, None), np.mean(alone, axis=0), atol=1e-4)


def _logits(model: Model, prepared: Prepared, members: tuple[int, ...] | None) -> Array:
    with Predictor(model, members=members) as predictor:
        return predictor.logits(prepared)


def _prepared(model: Model, path: Path) -> Prepared:
    return prepare([read_image(path)], model.plan)


def test_starting_from_a_model_takes_its_weights(classified: TrainResult, classes: Path, tmp_path: Path) -> None:
    assert classified.model is not None
    plan = classified.model.path / "plan.json"
    result = train(
        classes, output=tmp_path / "m", steps=1, plan_file=plan, start_from=classified.model.path, device="cpu"
    )
    assert result.evaluation is not None
    auc = result.evaluation.metrics["auc"].value
    assert auc is not None
    assert auc > 0.9


def test_plan_only_writes_nothing(classes: Path, tmp_path: Path) -> None:
    result = train(classes, output=tmp_path / "m", steps=5, plan_only=True)
    assert result.model is None
    assert list(tmp_path.iterdir()) == []
    assert any(line.startswith("network:") for line in result.summary())


def test_a_plan_for_other_labels_is_refused(classified: TrainResult, masks: Path, tmp_path: Path) -> None:
    assert classified.model is not None
    with pytest.raises(PlanError, match="other labels"):
        train(masks, output=tmp_path / "m", steps=2, plan_file=classified.model.path / "plan.json")


def test_an_existing_model_is_not_overwritten_without_force(classified: TrainResult, classes: Path) -> None:
    assert classified.model is not None
    with pytest.raises(OutputExists, match="exists already"):
        train(classes, output=classified.model.path, steps=2)


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(PathNotFound, match="nowhere"):
        train(tmp_path / "nowhere", output=tmp_path / "m")


def test_one_class(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", count=5, classes=("only",))
    with pytest.raises(DatasetError, match="class"):
        train(data, output=tmp_path / "m", steps=2)


def test_a_class_with_one_patient(tmp_path: Path) -> None:
    data = write_classes(tmp_path / "data", count=9)
    for path in sorted((data / "light").iterdir())[1:]:
        path.unlink()
    with pytest.raises(TooFew, match="light"):
        train(data, output=tmp_path / "m", steps=2)


def test_starting_from_what_is_no_model(classes: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="not a finished model folder"):
        train(classes, output=tmp_path / "m", steps=2, start_from=tmp_path)


def test_a_run_killed_at_ten_random_moments_ends_in_the_same_weights(masks: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from osler.workflows.train import train;"
        f"train({str(masks)!r}, output=sys.argv[1], steps=60, device='cpu', checkpoint_s=0.05, threads=1,"
        f" overrides={SMALL_MASKS!r})"
    )
    command = [sys.executable, "-c", program]
    subprocess.run([*command, str(tmp_path / "whole")], check=True, timeout=300)
    moments = random.Random(5)
    target = tmp_path / "killed"
    checkpoint = tmp_path / "killed.run" / "fold0" / "last.pt"
    kills = 0
    while kills < 10:
        before = checkpoint.stat().st_mtime if checkpoint.exists() else 0.0
        process = subprocess.Popen([*command, str(target)])
        while process.poll() is None and not (checkpoint.exists() and checkpoint.stat().st_mtime > before):
            time.sleep(0.01)
        time.sleep(moments.uniform(0.0, 0.1))
        if process.poll() is not None:
            break
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        kills += 1
    subprocess.run([*command, str(target)], check=True, timeout=300)
    assert kills >= 5, "the run ended before it could be killed often enough"
    assert digest_of_weights(tmp_path / "whole") == digest_of_weights(target)
    steps = json.loads((target / "model.json").read_text())["members"][0]["steps"]
    assert steps == 60


def test_two_processes_under_torchrun_train_one_model(masks: Path, tmp_path: Path) -> None:
    settings = [part for key, value in SMALL_MASKS.items() for part in ("--set", f"{key}={value}")]
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", "29571"]
    osler_train = [
        "-m",
        "osler",
        "train",
        str(masks),
        "--output",
        str(tmp_path / "m"),
        "--steps",
        "4",
        "--device",
        "cpu",
    ]
    done = subprocess.run([*command, *osler_train, *settings], timeout=300, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    model = Model.open(tmp_path / "m")
    assert model.verify().faults == ()
    assert model.info.members[0].steps == 4


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"folds": 0}, "0 folds are not possible"),
        ({"steps": 0}, "0 steps train nothing"),
        ({"steps": None, "budget": 0.0}, "leaves no time"),
        ({"steps": None, "budget": float("nan")}, "leaves no time"),
        ({"folds": 50}, "50 folds were asked for and the class .* has 2. images.*2. folds are the most"),
        ({"overrides": {"network.features": "[4,8]"}}, "network.features has 2"),
        ({"overrides": {"loss.class_weights": "[1,2,3]"}}, "loss.class_weights has 3 entries"),
        ({"overrides": {"patch": "[8,8]"}}, r"patch is \(8, 8\) and grid.shape \(24, 24\)"),
    ],
)
def test_numbers_that_do_not_fit_are_answered_before_anything_is_prepared(
    classes: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(osler.errors.OslerError, match=message):
        train(classes, output=tmp_path / "m", **{"steps": 2, **settings})  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_images_are_compared_once(classes: Path, tmp_path: Path) -> None:
    class Counting(Silent):
        stages: list[str] = []  # noqa: RUF012

        def start(self, stage: str, total: float | None, unit: str = "") -> None:
            self.stages.append(stage)

    progress = Counting()
    result = train(classes, output=tmp_path / "m", steps=2, plan_only=True, progress=progress)
    assert progress.stages.count("looking for near-duplicates") == 1
    assert any(line.startswith("split by image: ") for line in result.summary())


def test_a_folder_that_is_no_run_is_never_removed(classes: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "m.run" / "thesis.txt"
    theirs.parent.mkdir()
    theirs.write_text("years of work")
    with pytest.raises(OutputExists, match="no run of Osler's"):
        train(classes, output=tmp_path / "m", steps=2, force=True)
    assert theirs.read_text() == "years of work"


def test_the_records_of_another_run_need_force(masks: Path, tmp_path: Path) -> None:
    train(masks, output=tmp_path / "m", steps=2, device="cpu", overrides=SMALL_MASKS)
    (tmp_path / "m").rename(tmp_path / "kept")
    with pytest.raises(OutputExists, match="records of a finished run"):
        train(masks, output=tmp_path / "m", steps=3, device="cpu", overrides=SMALL_MASKS)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"overrides": {"foo": "1"}}, "no field 'foo'"),
        ({"overrides": {"batch": "-3"}}, "batch cannot be -3"),
        ({"overrides": {"loss.name": "nope"}}, "no loss 'nope'"),
        ({"method": "nope"}, "no method 'nope'"),
        ({"device": "tpu"}, "no device 'tpu'"),
    ],
)
def test_a_mistake_in_the_command_is_answered_and_leaves_nothing(
    classes: Path, tmp_path: Path, settings: dict[str, object], message: str
) -> None:
    with pytest.raises(osler.errors.OslerError, match=message):
        train(classes, output=tmp_path / "m", steps=2, **settings)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


def test_two_processes_do_not_train_into_one_folder(classes: Path, tmp_path: Path) -> None:
    from osler.workflows.run_folder import RunFolder

    held = RunFolder(tmp_path / "m")
    held.claim("somebody else's", force=False)
    with pytest.raises(OutputExists, match="another process is training"):
        train(classes, output=tmp_path / "m", steps=2, force=True)
    held.release()
