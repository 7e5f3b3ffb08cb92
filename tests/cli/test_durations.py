"""Durations as people write them."""

from __future__ import annotations

import pytest

from osler.errors import UsageError
from osler.workflows.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("2m", 120), ("1h30m", 5400), ("1.5m", 90), ("1h 5s", 3605), ("15M", 900)]
)
def test_a_duration_is_read(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "15 minutes", "-5m", "5m1h", "0s", "1e3s"])
def test_what_is_no_duration_is_refused_with_the_form(text: str) -> None:
    with pytest.raises(UsageError, match="is not a duration") as refused:
        parse_duration(text)
    assert "1h30m" in refused.value.remedy
