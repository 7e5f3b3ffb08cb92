"""The demo walks the whole way, in small."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import Cancelled, OutputExists
from osler.progress import CancelToken
from osler.workflows.demo import DemoResult, demo


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> DemoResult:
    """A demo of a few steps: what it writes is whole, what it scores is nothing."""
    return demo(tmp_path_factory.mktemp("demo") / "demo", steps=3, cases=8)


def test_it_ends_with_pages_and_pictures_that_are_there(walked: DemoResult) -> None:
    assert walked.complete
    assert len(walked.places) == 5
    for place in walked.places.values():
        assert place.stat().st_size > 1000


def test_it_measures_on_patients_that_training_never_saw(walked: DemoResult) -> None:
    assert walked.evaluated is not None
    assert walked.evaluated.seen == 0
    assert walked.evaluated.evaluation.patients == 10


def test_it_tells_the_commands_of_the_same_way(walked: DemoResult) -> None:
    shown = "\n".join(walked.summary())
    for command in ("inspect", "train", "evaluate", "predict"):
        assert f"osler {command} " in shown
    assert walked.record()["prediction"]["failed"] == {}


def test_an_earlier_demo_is_kept_without_force(walked: DemoResult) -> None:
    with pytest.raises(OutputExists, match="holds an earlier demo"):
        demo(walked.folder)


def test_force_removes_what_a_demo_wrote_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "mine.txt").write_text("keep")
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled, match="stopped at your request"):
        demo(tmp_path, force=True, cases=2, cancel=cancel)
    assert not (tmp_path / "model").exists()
    assert (tmp_path / "mine.txt").read_text() == "keep"
