"""What is recorded of a coarse network, and what the record decides; its network is made by hand, not trained."""

from __future__ import annotations

from pathlib import Path

import nibabel
import numpy as np
import pytest

import osler
from osler.datasets.dataset import Dataset
from osler.datasets.plan import CoarsePlan, GridPlan, Plan
from osler.inference.predictor import Predictor
from osler.models.folder import Model, seal
from osler.progress import CancelToken, Silent
from osler.studies.formats import read_image
from osler.workflows import coarse, compressing
from osler.workflows.coarse import add_coarse
from osler.workflows.coarse_facts import coarse_facts
from osler.workflows.compressing import Making, Wanted
from osler.workflows.finish import Trained
from osler.workflows.known_cases import KnownCases
from tiny_models import make_model, make_plan, thresholds

SPLITS = ("validation",) * 6 + ("test",) * 6
GRID = GridPlan(resize="spacing", spacing=(6.0, 6.0, 6.0), orientation="RAS")


def _write(folder: Path, faint: int = -1) -> Path:
    """Noise with one bright ball each, 3 mm; that of the case ``faint`` is hardly bright."""
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    index = np.indices((60, 56, 48))
    for n in range(len(SPLITS)):
        centre = random.uniform(8, 40, 3)
        ball = ((index - centre[:, None, None, None]) ** 2).sum(axis=0) < 20
        image = random.normal(100, 10, ball.shape) + (30 if n == faint else 120) * ball
        for part, array in (("images", image.astype(np.int16)), ("masks", ball.astype(np.uint8))):
            nibabel.save(nibabel.Nifti1Image(array, np.diag([3.0, 3, 3, 1])), folder / part / f"s{n:03}.nii.gz")
    return folder


def _dataset(folder: Path) -> Dataset:
    found = osler.open_dataset(folder)
    records = zip(found.records, SPLITS, strict=True)
    return found.with_records(tuple(r.model_copy(update={"split": split}) for r, split in records))


def _plan(dataset: Dataset) -> Plan:
    plan = make_plan(names=("ball",), grid=GRID.model_copy(update={"spacing": (3.0, 3.0, 3.0)}))
    own = CoarsePlan(grid=GRID, patch=(16, 16, 16), batch=1, network=plan.network)
    return plan.model_copy(update={"labels": dataset.labels, "channels": ("image",), "coarse": own})


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Adds a coarse network that finds intensities above ``level`` (in hundreds) to a model that finds those above
    115."""

    def make(level: float, faint: int = -1) -> tuple[Model, str, Path]:
        data = _write(tmp_path / "data", faint)
        dataset = _dataset(data)
        plan = _plan(dataset)
        model = make_model(tmp_path / "m", plan, *thresholds(1.5, slope=20.0))

        def export(folder: Path, info, plan: Plan, trained: Trained) -> Model:
            own = coarse.coarse_plan(plan)
            return make_model(folder, own, *thresholds(level, slope=20.0))

        monkeypatch.setattr(coarse, "_export", export)
        info, problem = add_coarse(model.path, model.info, plan, Trained(dataset, None, None, {}), progress=Silent())
        return seal(model.path, info), problem, data

    return make


def test_a_good_coarse_network_is_recorded_used_and_described(made) -> None:
    model, problem, data = made(1.4)
    entry = model.info.coarse
    assert problem == entry.problem == ""
    assert entry.windows < 0.8
    assert all(lost.voxels_lost == 0 and lost.cases == 6 for lost in (*entry.validation.values(), *entry.test.values()))
    assert model.verify().faults == ()
    facts = coarse_facts(model.info)
    assert "low-resolution network says where to look" in facts["Coarse pass"]
    assert any("connected parts wholly" in text for text in facts.values())
    for path in sorted((data / "images").iterdir())[:2]:
        with Predictor(model) as some, Predictor(model, every_window=True) as every:
            found, everything = some.label([read_image(path)])[1], every.label([read_image(path)])[1]
        assert 0 < found.windows.run < found.windows.total
        assert found.mask.any()
        np.testing.assert_array_equal(found.mask, everything.mask)


def test_a_coarse_network_that_loses_a_target_of_the_test_cases_is_off_and_that_is_said(made) -> None:
    model, problem, data = made(1.6, faint=11)
    entry = model.info.coarse
    assert "of the test cases it loses" in problem
    assert [lost.lesions_lost for lost in entry.test.values()] == [1]
    assert "off, every window is run" in coarse_facts(model.info)["Coarse pass"]
    with Predictor(model) as predictor:
        assert predictor.label([read_image(sorted((data / "images").iterdir())[0])])[1].windows is None


def test_a_coarse_network_that_is_blind_to_a_validation_case_is_left_out(made) -> None:
    model, problem, _ = made(1.6, faint=2)
    assert problem == "at no threshold and margin did it keep every target of the validation cases"
    assert model.info.coarse is None
    assert not (model.path / "coarse").exists()
    assert model.verify().faults == ()


def test_a_coarse_network_that_finds_something_everywhere_is_left_out(made) -> None:
    model, problem, _ = made(0.5)
    assert "100% of the windows" in problem
    assert model.info.coarse is None


def test_a_compressed_model_keeps_the_coarse_network(made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, _, _ = made(1.4)
    (tmp_path / "new").mkdir()
    monkeypatch.setattr(compressing, "compare", lambda *_, **__: None)
    wanted = Wanted(int8=False, prune=None, distil=False, budget_s=None, steps=1, seed=0, device="cpu", threads=1)
    cases = KnownCases(osler.open_dataset(tmp_path / "data"), (), (), known=True)
    Making(model, cases, wanted, "new", tmp_path / "new", tmp_path / "work", Silent(), CancelToken()).make()
    new = Model.open(tmp_path / "new")
    assert new.verify().faults == ()
    assert new.coarse() is not None
