"""What the plain scripts share: the cases, and a learning rate that runs out with the time."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

import osler
from osler.assurance.results import Evaluation
from osler.datasets.dataset import Case, Dataset

__all__ = ["Request", "carry_out", "steps"]

LEARNING_RATE = 1e-3  # torch's own default of Adam and AdamW


@dataclass(frozen=True)
class Request:
    """Cases of a data set, which of them are for testing, and the seconds for training."""

    dataset: Dataset
    training: list[Case]
    test: list[Case]
    seconds: float


def carry_out(
    work: Callable[[Request], list[object]], score: Callable[[Dataset, list[Case], list[object]], Evaluation]
) -> None:
    """Read DATA, REQUEST and ANSWER from the command line, do the work (once per fold), and write the evaluation.

    Args:
        work: trains and returns one prediction per test case.
        score: all test cases and their predictions.
    """
    data, request_file, answer = map(Path, sys.argv[1:4])
    request = json.loads(request_file.read_text())
    torch.manual_seed(0)
    dataset = osler.open_dataset(data, patient=request["patient"] or None)
    cases = [dataset.load(record) for record in dataset.records if record.answered]
    tested, predictions = [], []
    for test in _folds(cases, set(request["test"]), request["folds"]):
        names = {case.record.name for case in test}
        training = [case for case in cases if case.record.name not in names]
        predictions += work(Request(dataset, training, test, request["seconds"] / request["folds"]))
        tested += test
    answer.write_text(score(dataset, tested, predictions).model_dump_json())


def steps(parameters: Iterator[torch.nn.Parameter], seconds: float) -> Iterator[torch.optim.Optimizer]:
    """The optimiser, again and again until the time is over; its learning rate follows a cosine to zero."""
    optimiser = torch.optim.AdamW(parameters, lr=LEARNING_RATE)
    begun = time.perf_counter()
    while (spent := (time.perf_counter() - begun) / seconds) < 1:
        for group in optimiser.param_groups:
            group["lr"] = LEARNING_RATE * 0.5 * (1 + math.cos(math.pi * spent))
        yield optimiser


def _folds(cases: list[Case], names: set[str], folds: int) -> list[list[Case]]:
    test = [case for case in cases if case.record.name in names]
    if folds == 1:
        return [test]
    patients = sorted({case.record.patient or case.record.name for case in test})
    return [
        [case for case in test if (case.record.patient or case.record.name) in set(patients[fold::folds])]
        for fold in range(folds)
    ]
