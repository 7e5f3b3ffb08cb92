"""The pages about metrics hold every metric, and their snippets run."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from osler.assurance.masks import mask_key
from osler.metrics import METRICS, MaskMetric

DOCS = Path(__file__).parents[2] / "docs"


def test_every_metric_is_on_its_page() -> None:
    page = (DOCS / "reference/metrics.md").read_text()
    for metric in METRICS:
        if isinstance(metric, MaskMetric):
            keys = [mask_key(metric, unit=unit, dimensions=d) for unit in ("mm", "px") for d in (2, 3)]
        else:
            keys = [metric.name]
        assert [key for key in keys if f"`{key}`" not in page] == []


@pytest.mark.parametrize("name", ["reference/metrics.md", "concepts/evaluation.md"])
def test_the_snippets_run(name: str) -> None:
    snippets = re.findall(r"```python\n(.*?)```", (DOCS / name).read_text(), re.S)
    assert snippets
    for snippet in snippets:
        exec(compile(snippet, name, "exec"), {})
