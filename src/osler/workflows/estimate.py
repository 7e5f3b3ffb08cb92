"""What a prediction will take on this machine, said before it runs: seconds and memory of each study.

From the study's header (``inference.need``), from what was measured of the network on this machine
(``inference.constants``), and from the memory that is free. Windows that are passed over because nothing is in them are
counted, so it takes at most about so long.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from osler.datasets.free_memory import free_memory, resident_memory
from osler.datasets.layouts.masks import grid_of
from osler.errors import DatasetError, PlanError, StudyError, Unsuitable, UsageError
from osler.inference.constants import Constants, learn
from osler.inference.need import Header, Need, need_of
from osler.inference.predictor import Predictor
from osler.studies.discovery import Found
from osler.workflows.durations import format_duration
from osler.workflows.predictions import PredictedStudy
from osler.workflows.sizes import format_size

__all__ = ["Estimates", "Gauge", "StudyEstimate"]

_SMALL = 1 << 27  # bytes of studies that wait, before and after the network
_MOST_WAITING = 128  # of them
_LARGE = 1_000_000  # voxels: smaller studies do not tell what a voxel takes
_MANY = 8  # small studies that tell what one takes
_MOST_LISTED = 20
_ABOUT_ONE_STUDY = (StudyError, DatasetError, UsageError, PlanError)


@dataclass(frozen=True)
class StudyEstimate:
    """What one study will take.

    Args:
        name: of the study.
        windows: that go through each network; 0 when unknown.
        seconds: at most about.
        peak: bytes of the process, with batches of ``batch``.
        batch: the most windows or small studies at once with which it fits; 0 when it does not fit.
        problem: why nothing can be said, "" when it can.
        voxels: of its source.
    """

    name: str
    windows: int = 0
    seconds: float = 0.0
    peak: int = 0
    batch: int = 0
    problem: str = ""
    voxels: int = 0

    @property
    def line(self) -> str:
        """For a person."""
        if self.problem:
            return f"{self.name}: unknown: {self.problem}"
        windows = "" if self.windows == 1 else f"{self.windows} windows, "
        fits = "" if self.batch else ": does not fit"
        return f"{self.name}: {windows}about {format_duration(self.seconds)}, {format_size(self.peak)}{fits}"


@dataclass(frozen=True)
class Estimates:
    """What all studies will take.

    Args:
        studies: those whose headers were looked at.
        room: bytes that the process may have.
        count: how many studies there are in all.
    """

    studies: tuple[StudyEstimate, ...]
    room: int
    count: int

    @property
    def seconds(self) -> float:
        """At most about, one after the other."""
        return sum(study.seconds for study in self.studies) * self.count / max(1, len(self.studies))

    @property
    def windows(self) -> int:
        """That go through each network."""
        return sum(study.windows for study in self.studies) * self.count // max(1, len(self.studies))

    @property
    def peak(self) -> int:
        """Bytes of the process at its largest study that fits; where none does, at the smallest."""
        fitting = [study.peak for study in self.studies if study.batch]
        return max(fitting) if fitting else min((study.peak for study in self.studies if study.peak), default=0)

    @property
    def all_fit(self) -> bool:
        """Whether every study can be predicted, as far as its header tells."""
        return all(study.batch and not study.problem for study in self.studies)

    def summary(self) -> list[str]:
        """Lines for a person."""
        lines = [study.line for study in self.studies[:_MOST_LISTED]]
        if len(self.studies) > _MOST_LISTED:
            lines.append(f"and {len(self.studies) - _MOST_LISTED} more")
        return [*lines, self.headline()]

    def headline(self) -> str:
        """All of it in a line."""
        count = f"{self.count} {'study' if self.count == 1 else 'studies'}"
        room = format_size(self.room)
        return f"{count}: at most about {format_duration(self.seconds)} and {format_size(self.peak)} of {room} memory"

    def record(self) -> dict[str, Any]:
        """The same for a machine."""
        return {
            "seconds": self.seconds,
            "peak_bytes": self.peak,
            "room_bytes": self.room,
            "studies": [
                {
                    "study": study.name,
                    "windows": study.windows,
                    "seconds": study.seconds,
                    "peak_bytes": study.peak,
                    "batch": study.batch,
                    "problem": study.problem,
                }
                for study in self.studies
            ],
        }


class Gauge:
    """The story: made when the predictor is entered and before it is used; asked about studies; ``check`` is called
    before each is read.

    Args:
        predictor: entered.
        constants: of it; None where nothing was measured, and only what the study itself holds can be told.
        memory: bytes that the process may have; None takes what is free now.
        say: gets a line when batches are made smaller.
        base: bytes of the process without any study; None takes what it has now.
        count: how many studies there are in all; None where nobody knows.
    """

    def __init__(
        self,
        predictor: Predictor,
        constants: Constants | None,
        *,
        memory: int | None = None,
        say: Callable[[str], None] | None = None,
        base: int | None = None,
        count: int | None = None,
    ) -> None:
        self._predictor = predictor
        self._constants = constants
        self._base = resident_memory() if base is None else base
        self._others = _MOST_WAITING if count is None else min(_MOST_WAITING, count - 1)
        self._memory = memory
        self._say = say
        self._batch = predictor.usual_batch
        self._told: dict[str, tuple[int, int]] = {}  # windows and voxels of studies that were checked

    @property
    def room(self) -> int:
        """Bytes that the process may have."""
        if self._memory is not None:
            return self._memory
        free = free_memory()
        return (1 << 60) if free is None else free + resident_memory()

    def estimates(self, found: Sequence[Found], *, most: int | None = None) -> Estimates:
        """Of studies, from their headers.

        Args:
            found: all of them.
            most: look at no more than so many, evenly spread.
        """
        room, step = self.room, 1 if most is None else max(1, len(found) / most)
        looked = [found[int(n * step)] for n in range(int(len(found) / step))]
        return Estimates(tuple(self._of(study, room) for study in looked), room, len(found))

    def learn(self, done: Iterable[PredictedStudy]) -> None:
        """Remember what a run took: of large studies what a voxel takes, of many small ones what a study takes."""
        told = [(study.seconds, *self._told[study.name]) for study in done if study.name in self._told]
        large = [one for one in told if one[2] >= _LARGE]
        if self._constants is None or not (large or len(told) >= _MANY):
            return
        seconds, windows, voxels = (sum(column) for column in zip(*(large or told), strict=True))
        small = 0 if large else len(told)
        learn(
            self._predictor,
            self._constants,
            seconds=seconds,
            windows=int(windows),
            voxels=int(voxels),
            small=small,
        )

    def check(self, study: Found) -> None:
        """Make batches as small as the study needs.

        Raises:
            Unsuitable: when it fits into memory with no batch.
        """
        room = self.room
        found = self._of(study, room)
        if found.problem:
            return  # reading will say it better
        self._told[study.name] = (found.windows, found.voxels)
        if not found.batch:
            raise Unsuitable(
                f"predicting it needs about {format_size(found.peak)} of memory, and there are {format_size(room)}",
                remedy="free some memory, or take a machine with more"
                if self._memory is None
                else f"say with --memory that it may have {format_size(found.peak)}",
            )
        if found.batch < self._batch:
            self._batch = found.batch
            self._predictor.at_most(found.batch)
            if self._say is not None:
                scarce = f"memory is scarce ({format_size(room)})"
                self._say(f"{scarce}: from {study.name} on, at most {found.batch} at once go through the network")

    def _of(self, study: Found, room: int) -> StudyEstimate:
        try:
            need = need_of(_header(study), self._predictor.plan, blended=self._predictor.blended)
        except _ABOUT_ONE_STUDY as error:
            return StudyEstimate(study.name, problem=error.problem)
        batch = self._batch
        while batch > 1 and self._peak(need, batch) > room:
            batch //= 2
        peak = self._peak(need, batch)
        fits = batch if peak <= room else 0
        return StudyEstimate(study.name, need.windows, self._seconds(need), peak, fits, voxels=need.voxels)

    def _seconds(self, need: Need) -> float:
        known = self._constants
        if known is None:
            return 0.0
        return need.windows * known.window_s + need.voxels * known.rest_voxel_s + known.rest_study_s

    def _peak(self, need: Need, batch: int) -> int:
        waiting = min(2 * _SMALL, need.waits * self._others) if need.waits < _SMALL else 0
        return self._base + self._network(batch) + need.held + waiting

    def _network(self, batch: int) -> int:
        known, usual = self._constants, self._predictor.usual_batch
        if known is None:
            return 0
        share = (batch - 1) / (usual - 1) if usual > 1 else 0.0
        return int(known.first_bytes + share * (known.batch_bytes - known.first_bytes))


def _header(study: Found) -> Header:
    channel, path = next(iter(study.paths.items()))
    grid = grid_of(path, study.keys.get(channel))
    if grid is None:
        raise Unsuitable("its header does not tell its size")
    shape, affine = grid
    if len(shape) not in (2, 3):
        raise Unsuitable(f"it has {len(shape)} axes")
    return Header(tuple(shape), affine, by_plane=study.by_plane)
