"""Fuzzing of every reader: ``make fuzz`` runs this as a script, ``test_fuzz`` a part of it.

Inputs are read in a child process (``fuzz_child``) that is watched from here. What bounds it:

- Time: 5 s for each call. Counted is processor time of the child and of the decoding processes that it starts, and the
  time in which all of them wait; not the time in which the machine gives them no processor. So a busy machine makes no
  failures, and a reader that waits for a pipe for ever is one.
- Memory: 1 GiB of resident memory, the peak of each input as the kernel counts it (VmHWM, reset before each), and while
  it runs that of the child with its decoding processes. Not RLIMIT_AS: address space counts stacks of threads, arenas
  and files that are mapped, which nothing fills, and a limit there turns a greedy reader into a ``MemoryError``, which
  looks like a refusal. It is set to 4 GiB above the start only so that absurd reservations fail, and these are
  failures.

A child that crashes, hangs or eats memory is replaced by one that goes on with the next input.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fuzz_judge import MOST_BYTES, MOST_SECONDS
from fuzz_table import Failure, Tally, table, write_results

__all__ = ["main", "run"]

_POLL = 0.25  # seconds without a line after which the child is looked at
_START = 120.0  # seconds of processor time in which a child imports what it needs and writes its seeds
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass
class _Now:
    """What the child is doing, and what it has used since it began to."""

    target: str = ""
    number: int = -1
    what: str = ""
    call: str = ""
    used: float | None = None
    waited: float = 0.0


def run(
    ranges: Mapping[str, tuple[int, int]],
    seed: int,
    *,
    keep: Path | None = None,
    tallies: dict[str, Tally] | None = None,
) -> dict[str, Tally]:
    """Read inputs of several targets.

    Args:
        ranges: first number and the one after the last, by target.
        seed: of the run.
        keep: where inputs that fail are kept; None forgets them.
        tallies: filled as it goes on, so that an interrupted run is not lost.
    """
    found: dict[str, Tally] = defaultdict(Tally) if tallies is None else tallies
    left = [[name, start, stop] for name, (start, stop) in ranges.items()]
    with tempfile.TemporaryDirectory(prefix="osler-fuzz-") as work:
        while left:
            child = _Child(Path(work), left, seed, found, keep)
            now = child.watch()
            left = _after(left, now) if now is not None else []
    return found


def _after(left: Sequence[Sequence[Any]], now: _Now) -> list[list[Any]]:
    """What is still to be read when a child ended at ``now``."""
    place = next(n for n, (name, _, _) in enumerate(left) if name == now.target)
    rest = [[now.target, now.number + 1, left[place][2]], *map(list, left[place + 1 :])]
    return [one for one in rest if one[1] < one[2]]


class _Child:
    """One process, watched until it has ended."""

    def __init__(
        self, work: Path, left: list[list[Any]], seed: int, tallies: dict[str, Tally], keep: Path | None
    ) -> None:
        self._work, self._seed, self._tallies, self._keep = work, seed, tallies, keep
        task = json.dumps({"work": str(work), "seed": seed, "inputs": left})
        script = Path(__file__).with_name("fuzz_child.py")
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  lives as long
        self._process = subprocess.Popen(
            [sys.executable, str(script), task],
            stdout=subprocess.PIPE,
            stderr=self._errors,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
        self._now = _Now(target=left[0][0], number=left[0][1] - 1)
        self._done = False

    def watch(self) -> _Now | None:
        """Follow its lines; None when it came to its end, else where it failed."""
        try:
            problem = self._follow()
        finally:
            self._end()
        if self._done:
            return None
        self._note(Failure(self._now.number, self._now.what, f"{self._now.call}: {problem}"))
        if self._now.number < 0:
            raise RuntimeError(f"the process that reads does not start: {self._last_words()}")
        return self._now

    def _follow(self) -> str:
        """Why it ended before it was done."""
        stream = self._process.stdout
        if stream is None:
            raise RuntimeError("the process that reads has no pipe")
        lines = _Lines(stream.fileno())
        before = time.monotonic()
        while True:
            heard = [self._hear(line) for line in lines.within(_POLL)]
            if self._done:
                return ""
            if lines.ended:
                code = self._process.wait()
                return f"crashed ({signal.Signals(-code).name if code < 0 else f'exit {code}'}): {self._last_words()}"
            # This process may have got no processor for long: what passed meanwhile is not the child's time.
            before, passed = time.monotonic(), min(time.monotonic() - before, 2 * _POLL)
            problem = "" if heard else self._overdrawn(passed)
            if problem:
                return problem

    def _hear(self, line: Mapping[str, Any]) -> None:
        now = self._now
        if "number" in line:
            self._now = _Now(line["target"], line["number"])
        elif "call" in line:
            now.call, now.waited, now.used = line["call"], 0.0, None
        elif "outcome" in line:
            self._count(line)
        elif "what" in line:
            now.what = line["what"]
        self._done = self._done or "done" in line

    def _count(self, line: Mapping[str, Any]) -> None:
        tally = self._tallies[self._now.target]
        tally.slowest, tally.peak = max(tally.slowest, line["seconds"]), max(tally.peak, line["peak"])
        if line["outcome"] == "failed":
            self._note(Failure(self._now.number, line["what"], line["why"]))
        elif line["outcome"] == "read":
            tally.read += 1
        else:
            tally.refused += 1

    def _note(self, failure: Failure) -> None:
        kept = None
        if self._keep is not None:
            kept = self._keep / f"{self._now.target}-{self._seed}-{failure.number}"
            _keep(self._work / "case", kept)
        self._tallies[self._now.target].failures.append(Failure(failure.number, failure.what, failure.why, kept))

    def _overdrawn(self, passed: float) -> str:
        """Why it must be ended now; "" while it keeps within its limits."""
        now, use = self._now, _used(self._process.pid)
        now.used = use.seconds if now.used is None else now.used
        now.waited += 0 if use.running else passed
        if use.memory > MOST_BYTES:
            return f"{use.memory >> 20} MiB of memory"
        limit = MOST_SECONDS if now.call else _START
        spent = use.seconds - now.used + now.waited
        return f"hangs: more than {spent:.1f} s" if spent > limit else ""

    def _end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return " | ".join(self._errors.read()[-3000:].split("\n")[:25])


class _Lines:
    """Lines of JSON from a pipe."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor, self._rest, self.ended = descriptor, b"", False
        self._selector = selectors.DefaultSelector()
        self._selector.register(descriptor, selectors.EVENT_READ)

    def within(self, seconds: float) -> Iterator[dict[str, Any]]:
        """What comes in that time."""
        if not self._selector.select(seconds):
            return
        data = os.read(self._descriptor, 1 << 16)
        self.ended = not data
        *lines, self._rest = (self._rest + data).split(b"\n")
        yield from (json.loads(line) for line in lines)


@dataclass
class _Use:
    """Seconds of processor time, bytes of resident memory, and whether any thread runs or could."""

    seconds: float = 0.0
    memory: int = 0
    running: bool = False


def _used(session: int) -> _Use:
    """What the processes of a session use together."""
    use = _Use()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                fields = _stat(f"/proc/{entry.name}/stat")
                if int(fields[3]) != session:
                    continue
                use.seconds += (int(fields[11]) + int(fields[12])) / _TICKS
                use.memory += int(fields[21]) * _PAGE
                states = [_stat(f"{task.path}/stat")[0] for task in os.scandir(f"/proc/{entry.name}/task")]
            except OSError:  # it has ended meanwhile
                continue
            use.running = use.running or any(state in "RD" for state in states)
    return use


def _stat(path: str) -> list[str]:
    """Fields after the name, beginning with the state."""
    with open(path, encoding="latin-1") as file:
        return file.read().rpartition(")")[2].split()


def _keep(folder: Path, kept: Path) -> None:
    """The damaged input, links as links and holes as holes."""
    shutil.rmtree(kept, ignore_errors=True)
    kept.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run(["cp", "-a", "--sparse=always", str(folder), str(kept)], check=False, capture_output=True)


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _run_one(name: str, tallies: dict[str, Tally], options: argparse.Namespace) -> bool:
    """Read the inputs of one target, and say which failed; False when it was interrupted."""
    tallies[name] = Tally()
    try:
        run({name: (options.start, options.start + options.count)}, options.seed, keep=options.keep, tallies=tallies)
    except KeyboardInterrupt:
        return False
    finally:
        for failure in tallies[name].failures:
            _print(f"{name} {failure.number}: {failure.what}: {failure.why} ({failure.kept})")
    return True


def main() -> int:
    """The command; 1 when any input failed."""
    from fuzz_list import TARGETS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=10_000, help="inputs per target")
    parser.add_argument("--seed", type=int, default=0, help="of the run: equal seeds give equal inputs")
    parser.add_argument("--start", type=int, default=0, help="number of the first input, to make one again")
    parser.add_argument("--format", action="append", choices=[*TARGETS, ""], help="only these (all without it)")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-failures"), help="where failing inputs are put")
    parser.add_argument("--output", type=Path, help="adds to the table in this file (.md, with .json beside it)")
    options = parser.parse_args()
    names = [name for name in options.format or [] if name] or list(TARGETS)
    tallies: dict[str, Tally] = {}
    interrupted = False
    for name in names:
        interrupted = not _run_one(name, tallies, options)
        if options.output is not None:
            write_results(options.output, list(TARGETS), name, tallies[name], options.seed, options.start)
        if interrupted:
            break
    _print(table(tallies))
    failed = sum(len(tally.failures) for tally in tallies.values())
    if interrupted:
        _print("interrupted: this is what there was until then")
    return 1 if failed else 130 if interrupted else 0


if __name__ == "__main__":
    sys.exit(main())
