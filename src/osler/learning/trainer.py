"""``Trainer``: runs any method on any task; keeps checkpoints, validates, watches the clock, answers to a stop."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from osler.datasets.plan import Plan
from osler.learning.checkpoint import read_checkpoint, write_checkpoint
from osler.learning.feed import Feed, step_seed
from osler.learning.methods import Method
from osler.learning.networks import Network
from osler.learning.pace import Pace
from osler.learning.records import Recorder
from osler.progress import CancelToken, Progress

__all__ = ["History", "Outcome", "Trainer", "make_fabric"]

VALIDATIONS = (0.1, 0.4, 0.6, 0.75, 0.9, 1.0)
"""At which progress the network is validated: rarely early, when only an interrupted run would use it."""


@dataclass
class History:
    """What was logged: rows (step, progress, loss, learning rate) and (step, progress, validation score)."""

    losses: list[tuple[int, float, float, float]] = field(default_factory=list)
    scores: list[tuple[int, float, float]] = field(default_factory=list)
    skipped: int = 0

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"losses": self.losses, "scores": self.scores, "skipped": self.skipped}

    def load(self, state: dict[str, Any]) -> None:
        """From a checkpoint."""
        self.losses = [tuple(row) for row in state["losses"]]
        self.scores = [tuple(row) for row in state["scores"]]
        self.skipped = int(state["skipped"])


@dataclass(frozen=True)
class Outcome:
    """The best network (CPU, evaluation mode), how many steps there were, and whether somebody stopped the run."""

    network: Network
    steps: int
    pace: tuple[tuple[int, float], ...]
    history: History
    stopped_early: bool


def make_fabric(plan: Plan, *, device: str = "auto", several: bool = True) -> Fabric:
    """Device, precision and processes. Under ``torchrun`` (WORLD_SIZE in the environment) gradients are shared.

    Args:
        plan: ``precision``.
        device: "auto", "cpu" or "cuda".
        several: False keeps to this process even under ``torchrun`` (for measuring steps).
    """
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    several = several and TorchElasticEnvironment.detect()
    accelerator = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    precision = "bf16-mixed" if plan.precision == "bf16" else "32-true"
    processes = TorchElasticEnvironment().world_size() if several else 1
    logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(
        logging.WARNING
    )  # it announces its precision at every start
    fabric = Fabric(
        accelerator=accelerator,
        devices=processes if several else 1,
        strategy="ddp" if several else "auto",
        precision=precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    return fabric


class Trainer:
    """One training run in one folder.

    Args:
        method: a fresh method; the trainer sets it up.
        feed: of the training cases.
        validation: of the validation cases; its names may be empty.
        folder: for ``last.pt`` and ``best.pt``.
        deadline_s: seconds in all, from ``spent_s`` on; None when limited by ``plan.steps``.
        checkpoint_s: seconds between checkpoints.
        stage: the name that progress is shown under.
        record: whether to write TensorBoard files into ``folder/tensorboard``.
    """

    def __init__(
        self,
        method: Method,
        feed: Feed,
        validation: Feed,
        folder: Path,
        *,
        fabric: Fabric,
        progress: Progress,
        cancel: CancelToken,
        deadline_s: float | None = None,
        spent_s: float = 0.0,
        checkpoint_s: float = 20.0,
        stage: str = "training",
        record: bool = True,
    ) -> None:
        self.method = method
        self.feed = feed
        self.validation = validation
        self.folder = folder
        self.fabric = fabric
        self.progress = progress
        self.cancel = cancel
        self.checkpoint_s = checkpoint_s
        self.stage = stage
        if fabric.world_size > 1:  # one clock for all processes
            deadline_s, spent_s = fabric.broadcast((deadline_s, spent_s))
        self.pace = Pace(method.plan, deadline_s=deadline_s, spent_s=spent_s)
        self.history = History()
        self.best_score = -math.inf
        self.waited = 0
        self.record = record
        self._recorder: Recorder | None = None

    def fit(self) -> Outcome:
        """Train until the end, a stop, or an early stop; resumes from ``last.pt`` when there is one.

        Raises:
            StorageError: when a checkpoint cannot be written or read.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self.method.setup(self.fabric)
        stored = read_checkpoint(self.folder / "last.pt")
        if stored is not None:
            self._load(stored)
        if self.record and self.fabric.is_global_zero:
            self._recorder = Recorder(self.folder / "tensorboard", from_step=self.pace.step)
        total = self.pace.deadline_s if self.pace.deadline_s is not None else float(self.pace.steps)
        self.progress.start(self.stage, total, "s" if self.pace.deadline_s is not None else "steps")
        shown = self.pace.spent_s if self.pace.deadline_s is not None else float(self.pace.step)
        self.progress.advance(self.stage, shown, f"from step {self.pace.step}" if self.pace.step else "")
        stopped = self._loop()
        self._finish(stopped)
        self.progress.finish(self.stage)
        return Outcome(
            self._best_network(), self.pace.step, tuple(self.pace.anchors), self.history, stopped and not self._early()
        )

    def _early(self) -> bool:
        patience = self.method.plan.optimiser.patience
        return bool(patience) and self.waited >= patience

    def _stop(self) -> bool:
        """Whether to stop before the end; all processes agree on what the first one says."""
        wanted = self.cancel.cancelled or self._early()
        return bool(self.fabric.broadcast(wanted)) if self.fabric.world_size > 1 else wanted

    def _loop(self) -> bool:
        last_checkpoint = time.monotonic()
        batches = self.feed.batches(self.pace.step)
        try:
            while not self.pace.done:
                if self._stop():
                    return True
                started = time.monotonic()
                before = self.pace.progress
                self._step(next(batches))
                self._tick(time.monotonic() - started)
                if any(before < due <= self.pace.progress for due in VALIDATIONS[:-1]):
                    self._timed(self._validate)
                if time.monotonic() - last_checkpoint > self.checkpoint_s:
                    self._timed(self._save)
                    last_checkpoint = time.monotonic()
        finally:
            batches.close()  # type: ignore[attr-defined]
        return False

    def _step(self, batch: Any) -> None:
        step, rank = self.pace.step, self.fabric.global_rank
        seed = step_seed(self.method.plan.seed, 3, step, rank)
        torch.manual_seed(seed & 0x7FFFFFFF)  # dropout
        batch = type(batch)(self.fabric.to_device(batch.image), self.fabric.to_device(batch.answer))
        logs = self.method.step(batch, progress=self.pace.progress, generator=torch.Generator().manual_seed(seed))
        self.history.skipped += int(logs.get("skipped", 0))
        rate = next(iter(self.method.optimisers.values())).param_groups[0]["lr"]
        self.history.losses.append((step, self.pace.progress, logs["loss"], float(rate)))
        if self._recorder is not None:
            self._recorder.step(step, logs["loss"], float(rate))

    def _tick(self, seconds: float) -> None:
        if self.fabric.world_size > 1:  # every process must keep the same pace
            seconds = float(self.fabric.broadcast(seconds))
        self.pace.after_step(seconds)
        recent = [row[2] for row in self.history.losses[-20:]]
        amount = seconds if self.pace.deadline_s is not None else 1.0
        note = f"step {self.pace.step}, loss {sum(recent) / len(recent):.3f}"
        if self.history.scores:
            note += f", validation {self.history.scores[-1][2]:.3f}"
        self.progress.advance(self.stage, amount, note)

    def _timed(self, work: Callable[[], None]) -> None:
        """Do what is not a training step; the clock hears of it."""
        started = time.monotonic()
        work()
        spent = time.monotonic() - started
        if self.fabric.world_size > 1:
            spent = float(self.fabric.broadcast(spent))
        self.pace.other_work(spent)
        if self.pace.deadline_s is not None:
            self.progress.advance(self.stage, spent)

    def _validate(self) -> None:
        """Score the validation cases (every process does the same) and keep the network if it is the best so far."""
        names: Sequence[str] = self.validation.names
        scorer = self.method.task.scorer()
        for name in names:
            image, answer = self.validation.whole(name)
            logits = self.method.outputs(self.fabric.to_device(image))["logits"]
            scorer.update(logits.float().cpu(), answer)
        score = scorer.value() if names else 0.0
        self.history.scores.append((self.pace.step, self.pace.progress, score))
        if self._recorder is not None:
            self._recorder.score(self.pace.step, score)
        # a later network has a lower learning rate behind it: it is kept unless it is worse beyond chance
        if score >= self.best_score - self.method.task.tolerance:
            self.best_score, self.waited = max(score, self.best_score), 0
            if self.fabric.is_global_zero:
                write_checkpoint(self.folder / "best.pt", {"step": self.pace.step, "network": self._weights()})
        else:
            self.waited += 1

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: value.detach().cpu() for name, value in self.method.result().state_dict().items()}

    def _finish(self, stopped: bool) -> None:
        if not self.history.scores or self.history.scores[-1][0] != self.pace.step:
            self._validate()
        self._save()
        if self._recorder is not None:
            self._recorder.close()

    def _best_network(self) -> Network:
        stored = read_checkpoint(self.folder / "best.pt")
        network = self.method.result()
        if stored is not None:
            network.load_state_dict(stored["network"])
        return network.eval()

    def _save(self) -> None:
        if self.fabric.is_global_zero:
            state = {
                "method": self.method.state(),
                "pace": self.pace.state(),
                "history": self.history.state(),
                "best_score": self.best_score,
                "waited": self.waited,
            }
            write_checkpoint(self.folder / "last.pt", state)
        self.fabric.barrier()

    def _load(self, stored: dict[str, Any]) -> None:
        self.method.load(stored["method"])
        self.pace.load(stored["pace"])
        self.history.load(stored["history"])
        self.best_score, self.waited = float(stored["best_score"]), int(stored["waited"])
