"""Experiment records: TensorBoard event files while it trains, and the curves as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image as PillowImage
from PIL import ImageDraw, ImageFont

__all__ = ["Recorder", "draw_curves"]

Point = tuple[float, float]
_INK, _GRID, _LOSS, _SCORE = (40, 40, 40), (225, 225, 225), (0, 114, 178), (213, 94, 0)


class Recorder:
    """Writes scalars for one run. ``folder`` gets TensorBoard's files; a resumed run overwrites what it repeats."""

    def __init__(self, folder: Path, *, from_step: int = 0) -> None:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder), purge_step=from_step or None)

    def step(self, step: int, loss: float, learning_rate: float) -> None:
        """One training step."""
        self._writer.add_scalar("training/loss", loss, step)
        self._writer.add_scalar("training/learning_rate", learning_rate, step)

    def score(self, step: int, score: float) -> None:
        """One validation."""
        self._writer.add_scalar("validation/score", score, step)

    def close(self) -> None:
        """Flush to disk."""
        self._writer.close()


def draw_curves(losses: Sequence[Point], scores: Sequence[Point], path: Path, *, title: str, score_name: str) -> None:
    """Two panels side by side: the loss (smoothed over the last 25 steps) and the validation score, over steps.

    Args:
        losses: (step, loss).
        scores: (step, score).
        path: of the PNG.
        title: above both.
        score_name: of the validation score.
    """
    picture = PillowImage.new("RGB", (1100, 440), "white")
    pen = ImageDraw.Draw(picture)
    font = ImageFont.load_default(size=16)
    pen.text((20, 12), title, fill=_INK, font=ImageFont.load_default(size=20))
    smoothed = [
        (losses[n][0], sum(p[1] for p in losses[max(0, n - 24) : n + 1]) / min(n + 1, 25)) for n in range(len(losses))
    ]
    _panel(pen, (70, 70, 530, 390), smoothed, _LOSS, "training loss (mean of 25 steps)", font)
    _panel(pen, (610, 70, 1060, 390), list(scores), _SCORE, f"validation: {score_name}", font)
    picture.save(path)


def _panel(
    pen: ImageDraw.ImageDraw,
    box: tuple[int, int, int, int],
    points: Sequence[Point],
    colour: tuple[int, int, int],
    label: str,
    font: ImageFont.ImageFont | ImageFont.FreeTypeFont,
) -> None:
    left, top, right, bottom = box
    pen.text((left, top - 24), label, fill=_INK, font=font)
    pen.rectangle(box, outline=_INK)
    if not points:
        pen.text((left + 20, top + 20), "nothing recorded", fill=_INK, font=font)
        return
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    x_high, y_low, y_high = max(*xs, 1), min(ys), max(ys)
    span = (y_high - y_low) or max(abs(y_high), 1e-3)
    y_low, y_high = y_low - 0.05 * span, y_high + 0.05 * span
    for n in range(5):
        y = bottom - (bottom - top) * n / 4
        pen.line((left, y, right, y), fill=_GRID)
        pen.text((left - 58, y - 9), f"{y_low + (y_high - y_low) * n / 4:.3f}", fill=_INK, font=font)
    for share in (0, 0.5, 1):
        pen.text((left + (right - left) * share - 12, bottom + 6), f"{x_high * share:.0f}", fill=_INK, font=font)
    pen.text(((left + right) // 2 - 20, bottom + 26), "step", fill=_INK, font=font)
    places = [
        (left + (right - left) * x / x_high, bottom - (bottom - top) * (y - y_low) / (y_high - y_low))
        for x, y in points
    ]
    if len(places) > 1:
        pen.line(places, fill=colour, width=2)
    if len(places) < 30:
        for x, y in places:
            pen.ellipse((x - 4, y - 4, x + 4, y + 4), fill=colour)
