"""``osler compress`` on small data: what is shipped, what is refused, and what is left behind."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as Picture

from osler.cli import main
from osler.datasets.identity import content_digest
from osler.datasets.layouts import open_dataset
from osler.errors import Cancelled, ModelError, OutputExists, PlanError, TooFew, UsageError
from osler.inference import parity
from osler.inference.predictor import Predictor
from osler.models.folder import INT8_SUFFIX, Model, seal
from osler.models.parity import LIMITS
from osler.progress import CancelToken, Silent
from osler.workflows import compressing
from osler.workflows.compress import compress
from osler.workflows.known_cases import known_cases
from osler.workflows.train import train
from osler.workflows.verify import verify
from parity_records import form, record_of, with_record


def write_masks(folder: Path, *, count: int = 24, seed: int = 0) -> Path:
    random = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for n in range(count):
        mask = np.zeros((32, 32), np.uint8)
        i, j = random.integers(4, 18, 2)
        mask[i : i + 9, j : j + 9] = 255
        pixels = random.normal(80, 12, mask.shape) + (mask > 0) * 70
        Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"s{n:03}.png")
        Picture.fromarray(mask).save(folder / "masks" / f"s{n:03}.png")
    return folder


@pytest.fixture(scope="module")
def masks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_masks(tmp_path_factory.mktemp("masks") / "data")


@pytest.fixture(scope="module")
def segmenter(masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    fields = {"network.features": [8, 16, 32], "network.strides": [[1, 1], [2, 2], [2, 2]], "network.blocks": [1, 1, 1]}
    result = train(masks, output=tmp_path_factory.mktemp("model") / "m", steps=60, device="cpu", overrides=fields)
    assert result.model is not None
    return result.model


@pytest.fixture(scope="module")
def quantised(segmenter: Model, masks: Path, tmp_path_factory: pytest.TempPathFactory) -> Model:
    result = compress(segmenter, masks, output=tmp_path_factory.mktemp("int8") / "fast", int8=True)
    assert result.model is not None, result.summary()
    return result.model


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_training_writes_a_parity_record_on_its_validation_cases(segmenter: Model) -> None:
    record = segmenter.parity()
    assert record is not None
    assert record.cases == segmenter.info.data.validation == len(segmenter.info.data.calibrated)
    assert record.forms[0].name == "float32"
    assert record.forms[0].same_labels == 1
    assert record.forms[0].loss.dice == 0
    assert set(segmenter.info.data.calibrated) < set(segmenter.info.data.seen)


def test_known_cases_are_those_of_the_split_and_no_test_case(segmenter: Model, masks: Path) -> None:
    data = open_dataset(masks)
    cases = known_cases(segmenter, data, seed=0, progress=Silent(), cancel=CancelToken())
    summary = segmenter.info.data
    assert (len(cases.training), len(cases.judged)) == (summary.train, summary.validation)
    splits = json.loads((segmenter.path.with_name("m.run") / "splits.json").read_text())[0]["records"]
    parts = {record["name"]: record["split"] for record in splits}
    assert {parts[record.name] for record in cases.training} == {"train"}
    assert {parts[record.name] for record in cases.judged} == {"validation"}


def test_int8_answers_as_float32_within_the_limits(quantised: Model, segmenter: Model, masks: Path) -> None:
    record = quantised.parity()
    assert record is not None
    int8 = record.form("int8")
    assert int8 is not None
    assert int8.allowed
    assert int8.same_labels > 0.97
    assert int8.loss.dice is not None
    assert LIMITS.dice is not None
    assert int8.loss.dice <= LIMITS.dice
    assert quantised.verify().faults == ()
    for number, member in enumerate(quantised.info.members):
        graph = quantised.graph(number, INT8_SUFFIX)
        assert "FakeQuantize" in graph.read_text()
        assert (
            graph.with_suffix(".bin").stat().st_size
            < 0.5 * (quantised.path / member.graphs[".xml"]).with_suffix(".bin").stat().st_size
        )


def test_int8_runs_in_prediction(quantised: Model, masks: Path) -> None:
    from osler.datasets.preparation import prepare
    from osler.studies.formats import read_image

    prepared = prepare([read_image(masks / "images" / "s000.png")], quantised.plan)
    with Predictor(quantised, precision="int8") as fast, Predictor(quantised, precision="float32") as plain:
        found, expected = fast.predict(prepared), plain.predict(prepared)
    assert (found.argmax(0) == expected.argmax(0)).mean() > 0.98
    assert not np.array_equal(found, expected)


def test_a_compressed_model_names_its_parent_and_keeps_what_it_has_seen(quantised: Model, segmenter: Model) -> None:
    assert quantised.info.lineage["parent"]["digest"] == segmenter.info.digest
    assert quantised.info.lineage["compression"]["int8"] is True
    assert quantised.info.data == segmenter.info.data
    assert quantised.performance() == segmenter.performance()
    assert "## Compressed forms" in (quantised.path / "card.md").read_text()


def test_verify_shows_the_record_and_the_parent(quantised: Model, segmenter: Model) -> None:
    lines = "\n".join(verify(quantised).summary())
    assert "int8 allowed; labels" in lines
    assert f"compressed from: m (sha256 {segmenter.info.digest[:12]})" in lines
    assert verify(quantised).record()["parity"]["cases"] == segmenter.info.data.validation


def test_a_graph_made_worse_is_refused_and_nothing_is_written(
    segmenter: Model, masks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoilt(model, folder, windows, **rest):
        import openvino
        from openvino import opset13 as ops

        graph = openvino.Core().read_model(str(model.graph(0, ".xml")))
        for output in graph.outputs:
            if "logits" in output.get_names():
                source = output.get_node().input_value(0)
                shift = np.zeros((1, model.plan.outputs, 1, 1), np.float32)
                shift[0, 0] = 3  # every answer leans to background
                worse = ops.add(source, ops.constant(shift))
                worse.output(0).tensor.set_names({"logits"})
                source.tensor.set_names(set())
                output.get_node().input(0).replace_source_output(worse.output(0))
        relative = f"graphs/member0{INT8_SUFFIX}"
        openvino.save_model(graph, str(folder / relative), compress_to_fp16=False)
        member = model.info.members[0]
        return (member.model_copy(update={"graphs": {**member.graphs, INT8_SUFFIX: relative}}),)

    monkeypatch.setattr(compressing, "quantise", spoilt)
    result = compress(segmenter, masks, output=tmp_path / "new", int8=True)
    assert result.model is None
    assert result.refused == ("int8",)
    lines = result.summary()
    assert lines[-1] == "nothing was written"
    assert any("not shipped: int8: it loses" in line and "more than 0.005" in line for line in lines), lines
    assert _left(tmp_path) == []


def test_a_student_that_has_learnt_nothing_is_refused_with_figures(
    segmenter: Model, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["compress", str(segmenter.path), str(masks), "--distil", "--steps", "1", "--output", str(tmp_path / "n")]
    assert main(command) == 1
    shown = capsys.readouterr().out
    assert "not shipped: the new network: it loses" in shown
    assert "nothing was written" in shown
    assert _left(tmp_path) == []


@pytest.fixture
def every_loss_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that what is written does not depend on how far a few steps get."""
    monkeypatch.setattr(parity, "judge", lambda loss: ())


@pytest.mark.usefixtures("every_loss_allowed")
def test_pruning_takes_parameters_away_and_writes_a_model_of_its_own_plan(
    segmenter: Model, masks: Path, tmp_path: Path
) -> None:
    result = compress(segmenter, masks, output=tmp_path / "small", prune=0.5, steps=5, device="cpu")
    before, after = result.parameters
    assert after < 0.4 * before
    assert result.model is not None, result.summary()
    assert result.model.plan.network.features == (4, 8, 16)
    assert result.parity.reference.digest == segmenter.info.digest
    assert result.model.info.lineage["compression"]["prune"] == 0.5
    assert result.model.performance() == {}
    assert result.model.verify().faults == ()
    assert _left(tmp_path) == ["small"]


@pytest.mark.usefixtures("every_loss_allowed")
def test_a_student_may_be_given_a_time(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    result = compress(segmenter, masks, output=tmp_path / "small", prune=0.5, budget=6, device="cpu")
    assert result.model is not None
    assert result.model.info.lineage["steps"][0] >= 1  # how many depends on what else the machine does
    assert result.model.plan.budget_s == 6


@pytest.mark.usefixtures("every_loss_allowed")
def test_a_distilled_student_is_smaller(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    result = compress(segmenter, masks, output=tmp_path / "small", distil=True, steps=5, device="cpu")
    assert result.parameters[1] < 0.4 * result.parameters[0]
    assert result.model is not None, result.summary()
    assert len(result.model.info.members) == 1


def test_without_a_wish_bf16_is_compared_and_written_down(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    unknown = _copy(segmenter, tmp_path / "old")
    (unknown.path / "parity.json").unlink()
    result = compress(seal(unknown.path, unknown.info), masks, output=tmp_path / "new")
    assert result.model is not None
    assert result.model.parity() is not None
    assert any("it is no smaller" in line for line in result.summary())


def test_a_stop_leaves_nothing(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    token = CancelToken()

    class Stops(Silent):
        def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
            if stage.startswith("training"):
                token.cancel()

    with pytest.raises(Cancelled, match="nothing was written"):
        compress(segmenter, masks, output=tmp_path / "n", prune=0.5, steps=50, progress=Stops(), cancel=token)
    assert _left(tmp_path) == []


def test_a_stop_while_quantising_leaves_nothing(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    token = CancelToken()

    class Stops(Silent):
        def advance(self, stage: str, amount: float = 1.0, note: str = "") -> None:
            if stage == "quantising":
                token.cancel()

    with pytest.raises(Cancelled):
        compress(segmenter, masks, output=tmp_path / "n", int8=True, progress=Stops(), cancel=token)
    assert _left(tmp_path) == []


def _copy(model: Model, folder: Path) -> Model:
    import shutil

    shutil.copytree(model.path, folder)
    return Model.open(folder)


def test_foreign_data_are_refused(segmenter: Model, tmp_path: Path) -> None:
    foreign = write_masks(tmp_path / "foreign", seed=9)
    with pytest.raises(TooFew, match=r"none of the 24 cases .* calibrated on"):
        compress(segmenter, foreign, output=tmp_path / "new", int8=True)


def test_a_model_that_does_not_say_its_validation_cases_is_refused(
    segmenter: Model, masks: Path, tmp_path: Path
) -> None:
    old = _copy(segmenter, tmp_path / "old")
    info = old.info.model_copy(update={"data": old.info.data.model_copy(update={"calibrated": ()})})
    with pytest.raises(ModelError, match="does not say which cases it was calibrated on"):
        compress(seal(old.path, info), masks, output=tmp_path / "new")


def test_a_model_of_another_program_gets_a_new_split_and_remembers_it(
    segmenter: Model, masks: Path, tmp_path: Path
) -> None:
    old = _copy(segmenter, tmp_path / "old")
    data = old.info.data.model_copy(update={"split_by": "unknown", "seen": (), "calibrated": (), "salt": ""})
    (old.path / "parity.json").unlink()
    result = compress(seal(old.path, old.info.model_copy(update={"data": data})), masks, output=tmp_path / "new")
    assert result.model is not None
    summary = result.model.info.data
    assert len(summary.seen) == len(summary.calibrated) == result.parity.cases
    opened = open_dataset(masks)
    digests = {content_digest(opened, record, summary.salt) for record in opened}
    assert set(summary.seen) < digests
    assert "not recorded on which cases" in result.parity.notes[0]


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"prune": 0.5, "distil": True}, UsageError, "both --prune and --distil"),
        ({"prune": 1.5}, UsageError, "1.5 is no share"),
        ({"distil": True, "budget": "0s"}, UsageError, "is not a duration"),
        ({"distil": True, "steps": 0}, UsageError, "0 steps train nothing"),
    ],
)
def test_what_cannot_be_done_is_refused_before_any_work(
    segmenter: Model, masks: Path, tmp_path: Path, changes: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        compress(segmenter, masks, output=tmp_path / "new", **changes)  # type: ignore[arg-type]
    assert _left(tmp_path) == []


def test_the_model_itself_is_no_output(segmenter: Model, masks: Path) -> None:
    with pytest.raises(UsageError, match="--output is the model itself"):
        compress(segmenter, masks, output=segmenter.path, force=True)


def test_nothing_is_overwritten_unasked(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "thesis.txt").write_text("x")
    with pytest.raises(OutputExists, match="--force to replace it"):
        compress(segmenter, masks, output=tmp_path / "new")
    with pytest.raises(OutputExists, match="is no model folder"):
        compress(segmenter, masks, output=tmp_path / "new", force=True)


def test_overlapping_structures_can_only_be_quantised(segmenter: Model, masks: Path, tmp_path: Path) -> None:
    from osler.datasets.plan import RegionPlan

    changed = Model(
        segmenter.path,
        segmenter.info,
        segmenter.plan.model_copy(update={"regions": (RegionPlan(name="a", values=(1,), writes=1),)}),
    )
    with pytest.raises(PlanError, match="neither pruned nor distilled"):
        compress(changed, masks, output=tmp_path / "new", prune=0.5)


def test_predict_refuses_a_form_that_the_record_forbids(
    segmenter: Model, masks: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = with_record(_copy(segmenter, tmp_path / "m"), record_of(form("float32", 9), form("bf16", 5, lost=0.03)))
    command = ["predict", str(model.path), str(masks / "images" / "s000.png"), "--output", str(tmp_path / "out")]
    assert main([*command, "--precision", "bf16"]) == 2
    assert "loses 0.0300 Dice, more than 0.002" in capsys.readouterr().err
    assert main(command) == 0


def test_the_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "--help"]) == 0
    assert "Example: osler compress" in capsys.readouterr().out


def test_a_classifier_is_quantised_and_judged_by_auc(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    for value, name in enumerate(("dark", "light")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for n in range(24):
            pixels = random.normal(90, 20, (24, 24))
            pixels[6:14, 6 + n % 4 : 16] += 60 * value
            Picture.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / "data" / name / f"{name}{n:03}.png")
    small = {"network.features": [8, 16, 32], "network.strides": [[1, 1], [2, 2], [2, 2]], "network.blocks": [1, 1, 1]}
    trained = train(tmp_path / "data", output=tmp_path / "m", steps=60, device="cpu", overrides=small).model
    assert trained is not None
    result = compress(trained, tmp_path / "data", output=tmp_path / "fast", int8=True)
    int8 = result.parity.form("int8")
    assert int8 is not None
    assert int8.scores.auc is not None
    assert int8.scores.ece is not None
    assert int8.same_labels >= 0.5  # of four cases
    assert (result.model is not None) == int8.allowed
