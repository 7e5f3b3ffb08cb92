"""Plans for people and from files: a plan as lines of text with reasons, and ``--plan FILE``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from osler.datasets.plan import Plan
from osler.datasets.plan_checks import check_plan_fields
from osler.errors import PathNotFound, PlanError

__all__ = ["describe_plan", "read_plan"]


def describe_plan(plan: Plan) -> list[str]:
    """Each decision with its reason."""
    shown = plan.model_dump(mode="json", exclude={"reasons", "labels", "schema_version", "pace"})
    lines = []
    for name, value in shown.items():
        reasons = [text for key, text in plan.reasons.items() if key == name or key.startswith(f"{name}.")]
        lines.append(f"{name}: {json.dumps(value)}" + (f"   ({'; '.join(reasons)})" if reasons else ""))
    return lines


def read_plan(path: str | Path | None) -> tuple[Plan | None, dict[str, Any]]:
    """A whole plan, or dotted fields of one."""
    if path is None:
        return None, {}
    if not Path(path).is_file():
        raise PathNotFound(f"no plan file at {path}", remedy="give a JSON file, for example MODEL/plan.json")
    try:
        raw = json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise PlanError(f"{path} is not JSON ({error})", remedy="see osler train --plan-only --json") from error
    if not isinstance(raw, dict):
        raise PlanError(f"{path} is not a JSON object", remedy='write {"field": value}')
    if {"task", "network", "grid", "patch"} <= set(raw):
        try:
            plan = Plan.model_validate(raw)
        except ValueError as error:
            raise PlanError(f"{path} is no plan of this Osler ({error})", remedy="train without --plan") from error
        check_plan_fields(plan)
        return plan, {}
    return None, dict(_dotted(raw))


def _dotted(raw: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    fields: list[tuple[str, Any]] = []
    for key, value in raw.items():
        fields += _dotted(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return fields
