"""The whole way on the phantom: minutes by the clock, memory, and the organs' Dice."""

from __future__ import annotations

import json
import shutil

from _runs import WORK, osler
from _table import Row, write_table

if __name__ == "__main__":
    output = WORK / "demo"
    shutil.rmtree(output, ignore_errors=True)
    ended = osler("demo", "--output", output)
    figures = json.loads((output / "evaluation" / "metrics.json").read_text())["per_class"]
    rows = [
        Row("time", ended.seconds / 60, unit="min", must_reach="5 min"),
        Row("largest memory", ended.peak_mb, unit="MB"),
    ]
    for label, metrics in figures.items():
        dice = metrics["dice"]
        over = f"{dice['n']} patients"
        must = "" if "nodule" in label.lower() else "0.90"
        rows.append(Row(f"Dice {label}", dice["value"], dice["low"], dice["high"], n=over, must_reach=must))
    write_table("demo", "osler demo (phantom, from nothing to a prediction)", rows)
