"""What the two benchmarks of classification share."""

from __future__ import annotations

from pathlib import Path

from _runs import compare, figure_of, peer, train
from _table import Row, write_table

__all__ = ["measure"]


def measure(
    name: str,
    title: str,
    data: Path,
    budget: str,
    seconds: float,
    must: dict[str, tuple[str, str]],
    also: dict[str, Path] | None = None,
) -> None:
    """Train, run the peer, write the table.

    Args:
        name: of the benchmark.
        title: of the table.
        data: the data set.
        budget: as ``osler train`` takes it.
        seconds: the same in seconds, for the peer.
        must: for each metric what it must reach and the reference.
        also: other forms of the data by what sets them apart; Osler is trained on them too.
    """
    _, ours = train(name, data, "--budget", budget)
    theirs = peer("plain_resnet", data, ours, seconds=seconds)
    rows = []
    for metric, figure in ours.metrics.items():
        reach, reference = must.get(metric, ("", ""))
        beside = figure_of(theirs, metric)
        rows.append(Row(**compare(metric.replace("_", " "), figure, beside, must_reach=reach, reference=reference)))
    for number, (what, path) in enumerate((also or {}).items()):
        _, other = train(f"{name}-{number}", path, "--budget", budget)
        rows += [
            Row(**compare(f"{metric.replace('_', ' ')}, {what}", other.metrics[metric], None))
            for metric in must
            if metric in other.metrics
        ]
    write_table(name, title, rows, peer="plain MONAI ResNet-18, same time")
