"""Running what is measured: ``osler`` as a user runs it, and a peer beside it, each in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from osler.assurance.results import Evaluation, Figure

__all__ = ["DATA", "PEERS", "WORK", "Run", "compare", "figure_of", "osler", "peer", "run", "train"]

ROOT = Path(__file__).parents[1]
DATA = Path(os.environ.get("OSLER_SHARED", ROOT.parent / "shared")) / "data"
WORK = ROOT / "runs" / "benchmarks"
PEERS = "--no-peer" not in sys.argv


# A process counts what its parent held when it was started among its own peak: one that holds little starts it. Osler
# resets its peak for each study, so the highest that was seen while it ran counts; without /proc, the kernel's.
_LAUNCHER = """
import json, os, sys, time
begun = time.perf_counter()
child = os.posix_spawnp(sys.argv[2], sys.argv[2:], os.environ)
seen, ended = 0, 0
while not ended:
    try:
        with open(f"/proc/{child}/status") as status:
            seen = max([seen, *(int(line.split()[1]) for line in status if line.startswith("VmHWM"))])
    except OSError:
        pass
    ended, code, usage = os.wait4(child, os.WNOHANG)
    time.sleep(0 if ended else 0.02)
peak = max(seen * 1024, usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024))
with open(sys.argv[1], "w") as report:
    json.dump({"seconds": time.perf_counter() - begun, "peak": peak}, report)
sys.exit(os.waitstatus_to_exitcode(code))
"""


@dataclass(frozen=True)
class Run:
    """A process that has ended: seconds by the clock, its largest resident memory in MB, and what it printed."""

    seconds: float
    peak_mb: float
    output: str

    @property
    def record(self) -> dict[str, Any]:
        """The last line as JSON."""
        record: dict[str, Any] = json.loads(self.output.splitlines()[-1])
        return record


def run(command: Sequence[str | Path]) -> Run:
    """Run a command to its end; its progress goes to stderr as usual.

    Raises:
        SystemExit: when it fails: a benchmark of something broken is worth nothing.
    """
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "usage.json"
        launcher = [sys.executable, "-S", "-c", _LAUNCHER, report]
        ended = subprocess.run(
            [str(part) for part in [*launcher, *command]],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
            env=_as_installed(),
        )
        if ended.returncode:
            raise SystemExit(f"{' '.join(map(str, command))} ended with {ended.returncode}\n{ended.stdout}")
        usage = json.loads(report.read_text())
    return Run(usage["seconds"], usage["peak"] / 2**20, ended.stdout)


def _as_installed() -> dict[str, str]:
    """The environment, but with Python's compiled files kept, as pip keeps those of a package that it installs: a
    checkout whose environment forbids them compiles Osler at every start, and no peer."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def osler(*arguments: str | Path) -> Run:
    """``osler ARGUMENTS --json``."""
    return run([Path(sys.executable).parent / "osler", *arguments, "--json"])


def train(name: str, data: Path, *arguments: str) -> tuple[Run, Evaluation]:
    """``osler train`` afresh; what it took, and its evaluation on the cases that it never saw."""
    model = WORK / name
    ended = osler("train", data, "--output", model, "--force", *arguments)
    return ended, Evaluation.model_validate_json((Path(f"{model}.run") / "evaluation" / "metrics.json").read_text())


def peer(
    script: str, data: Path, ours: Evaluation, *, seconds: float, folds: int = 1, patient: str = ""
) -> Evaluation | None:
    """A plain script with the same time on the same test cases (with folds: as many folds, by patient too).

    None with ``--no-peer``; the table then says that the peer was not run.
    """
    if not PEERS:
        return None
    WORK.mkdir(parents=True, exist_ok=True)
    request, answer = WORK / "peer-request.json", WORK / "peer-answer.json"
    cases = [case.name for case in ours.per_case]
    request.write_text(json.dumps({"test": cases, "seconds": seconds, "folds": folds, "patient": patient}))
    run([sys.executable, ROOT / "benchmarks" / "peers" / f"{script}.py", data, request, answer])
    return Evaluation.model_validate_json(answer.read_text())


def figure_of(evaluation: Evaluation | None, metric: str, label: str = "") -> Figure | None:
    """A figure of the peer, if it was run and has it."""
    if evaluation is None:
        return None
    return (evaluation.per_class[label] if label else evaluation.metrics).get(metric)


def compare(what: str, ours: Figure, theirs: Figure | None, **more: str) -> dict[str, Any]:
    """The arguments of a ``Row`` from Osler's figure and the peer's."""
    if ours.value is None:
        raise SystemExit(f"{what} is undefined")
    beside = {} if theirs is None else {"peer": theirs.value, "peer_low": theirs.low, "peer_high": theirs.high}
    over = f"{ours.n} cases" if ours.n == ours.patients else f"{ours.n} cases of {ours.patients} patients"
    return {"what": what, "value": ours.value, "low": ours.low, "high": ours.high, "n": over, **beside, **more}
