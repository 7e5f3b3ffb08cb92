"""A target: seeds (small sound files), ways of damaging them, and the readers that get the damaged input."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

from fuzz_damage import BYTES, PLACES, TRUNCATED, Damage, choose
from fuzz_judge import Call

__all__ = ["Case", "Target", "image_calls", "make_case"]

Calls = Callable[[Path], Iterator[tuple[str, Call]]]


@dataclass(frozen=True)
class Target:
    """One format, or one way of reading many files.

    Args:
        name: as ``make fuzz FORMAT=`` knows it.
        write_seeds: writes them below a folder, each in a folder of its own; gives what is read of each (a file in it
            or that folder).
        damages: that know the format.
        calls: the readers, on what is read of a case.
        bombs: damages that take long to read, and are done to one input of a hundred.
        truncated: whether half of a file must never be read; not so for lists, whose half is a list too.
        named: whether refusals must name the file.
        any_file: whether any file of a case is damaged, or the one that is read.
    """

    name: str
    write_seeds: Callable[[Path], Sequence[Path]]
    damages: tuple[Damage, ...]
    calls: Calls
    bombs: tuple[Damage, ...] = ()
    truncated: bool = True
    named: bool = True
    any_file: bool = False


@dataclass(frozen=True)
class Case:
    """One damaged input: ``path`` is what is read, ``what`` was done to which file."""

    path: Path
    what: str
    must_refuse: bool = False


def make_case(target: Target, seeds: Sequence[Path], number: int, seed: int, folder: Path) -> Case:
    """Copy a seed into ``folder`` and damage it; equal arguments give an equal input.

    Args:
        target: what to damage.
        seeds: as ``write_seeds`` gave them.
        number: of the input.
        seed: of the run.
        folder: that does not exist yet.
    """
    rng = Random(f"{target.name} {seed} {number}")
    source = rng.choice(seeds)
    root = source if source.is_dir() else source.parent
    shutil.copytree(root, folder, symlinks=True)
    path = folder if source.is_dir() else folder / source.name
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.is_symlink())
    place = rng.choice(files) if target.any_file or rng.random() < 0.15 else path
    if place.is_dir():
        place = rng.choice(files)
    return _damaged(target, path, place, rng, f"{source.parent.name}/{source.name}: {place.name}")


def _damaged(target: Target, path: Path, place: Path, rng: Random, what: str) -> Case:
    share = rng.random()
    if share < 0.01 and target.bombs:
        return Case(path, f"{what} is {_done(target.bombs, place, rng)}")
    if share < 0.09:
        done = _done((TRUNCATED,), place, rng)
        return Case(path, f"{what} {done}", must_refuse=target.truncated and place == path)
    if share < 0.2:
        return Case(path, f"{what} is {_done(PLACES, place, rng)}")
    several = []
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        damages = target.damages if target.damages and rng.random() < 0.65 else BYTES
        if place.is_file() and not place.is_symlink():
            several.append(_done(damages, place, rng))
    return Case(path, f"{what} {', '.join(several)}")


def _done(damages: Sequence[Damage], place: Path, rng: Random) -> str:
    """One of the damages, and what it says; what another damage did before may leave nothing for it to damage."""
    damage = choose(damages, rng)
    try:
        return damage(place, rng)
    except Exception as error:  # noqa: BLE001  libraries that write raise what they like
        return f"({damage.__name__.strip('_')} not possible: {type(error).__name__})"


def image_calls(path: Path) -> Iterator[tuple[str, Call]]:
    """The readers of images, masks and frames."""
    from osler.studies.formats import read_frames, read_image, read_labels, sniff

    yield "sniff", lambda: sniff(path)
    yield "read_image", lambda: read_image(path)
    yield "read_image(index=0)", lambda: read_image(path, index=0)
    yield "read_labels", lambda: read_labels(path)
    yield "read_frames", lambda: read_frames(path)
