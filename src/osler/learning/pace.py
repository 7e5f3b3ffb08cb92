"""How far a run is. The learning rate follows the progress; the progress follows the steps or the clock.

A run limited by steps advances by 1/steps each step. A run limited by time advances by its remaining share divided by
the steps that still fit; each change of that increment is kept as an anchor, so that the run can be repeated exactly.
"""

from __future__ import annotations

from osler.datasets.plan import Plan

__all__ = ["Pace"]

_EVERY = 10  # steps between two looks at the clock
_CHANGE = 0.02  # a smaller relative change of the increment is not worth an anchor


class Pace:
    """Progress from 0 to 1.

    Args:
        plan: ``steps``, and ``pace`` when a run limited by time is repeated.
        deadline_s: seconds that the run may take in all; None when limited by steps.
        spent_s: seconds already spent (on planning, or before a resume).
    """

    def __init__(self, plan: Plan, *, deadline_s: float | None, spent_s: float = 0.0) -> None:
        self.steps = plan.steps
        self.deadline_s = deadline_s
        self.spent_s = spent_s
        self.step = 0
        self.progress = 0.0
        self.anchors: list[tuple[int, float]] = list(plan.pace) or [(0, 1.0 / max(1, plan.steps))]
        self._replay = bool(plan.pace)
        self._step_s = 0.0

    @property
    def done(self) -> bool:
        """Whether the run is over."""
        if self.deadline_s is not None:
            return self.progress >= 1.0 - 1e-9
        return self.step >= self.steps

    def after_step(self, seconds: float) -> None:
        """One step took ``seconds`` (with whatever happened around it)."""
        self.spent_s += seconds
        self.step += 1
        if self.deadline_s is None:
            if self._replay:
                self.progress = min(1.0, self.progress + self._increment(self.step - 1))
            else:
                self.progress = self.step / max(1, self.steps)
            return
        # the first steps compile kernels and fill caches; they say little about those to come
        if self.step > 3:
            self._step_s = seconds if not self._step_s else 0.95 * self._step_s + 0.05 * seconds
        self.progress = min(1.0, self.progress + self.anchors[-1][1])
        if self.step % _EVERY == 0 or self.progress > 0.97 or self.spent_s > self.deadline_s:
            self._look_at_clock(self.deadline_s)

    def other_work(self, seconds: float) -> None:
        """Time that was spent on validation or checkpoints."""
        self.spent_s += seconds

    def _look_at_clock(self, deadline_s: float) -> None:
        left = deadline_s - self.spent_s
        if left <= 0:
            self.progress = 1.0
            return
        fitting = max(1.0, left / max(self._step_s, 1e-6))
        increment = (1.0 - self.progress) / fitting
        if abs(increment / self.anchors[-1][1] - 1) > _CHANGE:
            self.anchors.append((self.step, increment))

    def _increment(self, step: int) -> float:
        return next(increment for start, increment in reversed(self.anchors) if start <= step)

    def left_s(self) -> float | None:
        """Seconds left, as far as known."""
        if self.deadline_s is not None:
            return max(0.0, self.deadline_s - self.spent_s)
        return self._step_s * (self.steps - self.step) if self._step_s else None

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {
            "step": self.step,
            "progress": self.progress,
            "spent_s": self.spent_s,
            "anchors": [list(anchor) for anchor in self.anchors],
            "step_s": self._step_s,
        }

    def load(self, state: dict[str, object]) -> None:
        """From a checkpoint."""
        self.step = int(state["step"])  # type: ignore[call-overload]
        self.progress = float(state["progress"])  # type: ignore[arg-type]
        self.spent_s = float(state["spent_s"])  # type: ignore[arg-type]
        self._step_s = float(state["step_s"])  # type: ignore[arg-type]
        self.anchors = [(int(a), float(b)) for a, b in state["anchors"]]  # type: ignore[attr-defined]
