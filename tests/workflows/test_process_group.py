"""Several processes: the first plans, the others wait for its plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from osler.errors import Cancelled, StorageError
from osler.progress import CancelToken
from osler.workflows.process_group import ProcessGroup

TORCHRUN = {"TORCHELASTIC_RUN_ID": "a", "MASTER_ADDR": "x", "MASTER_PORT": "1", "RANK": "1", "WORLD_SIZE": "2"}


def test_without_torchrun_there_is_one_process() -> None:
    assert ProcessGroup.detect({}) == ProcessGroup(0, 1, "")


def test_torchruns_environment_is_read() -> None:
    group = ProcessGroup.detect(TORCHRUN)
    assert (group.rank, group.size, group.first) == (1, 2, False)


def test_a_process_goes_on_when_the_first_of_its_start_has_announced(tmp_path: Path) -> None:
    ProcessGroup.detect({**TORCHRUN, "RANK": "0"}).announce(tmp_path)
    ProcessGroup.detect(TORCHRUN).wait(tmp_path, CancelToken(), patience_s=0.0)


def test_an_announcement_of_an_earlier_start_does_not_count(tmp_path: Path) -> None:
    ProcessGroup.detect({**TORCHRUN, "RANK": "0", "MASTER_PORT": "2"}).announce(tmp_path)
    with pytest.raises(StorageError, match="saw no plan"):
        ProcessGroup.detect(TORCHRUN).wait(tmp_path, CancelToken(), patience_s=0.0)


def test_waiting_answers_to_a_stop(tmp_path: Path) -> None:
    cancel = CancelToken()
    cancel.cancel()
    with pytest.raises(Cancelled, match="stopped at your request"):
        ProcessGroup.detect(TORCHRUN).wait(tmp_path, cancel)
