"""Public data sets by name."""

from __future__ import annotations

from difflib import get_close_matches

from osler.datasets.public.base import PublicSet
from osler.datasets.public.decathlon import DECATHLON
from osler.datasets.public.medmnist import MEDMNIST
from osler.errors import Unknown

__all__ = ["PUBLIC_SETS", "PublicSet", "find_public_set"]

PUBLIC_SETS: tuple[PublicSet, ...] = (*MEDMNIST, *DECATHLON)


def find_public_set(name: str) -> PublicSet:
    """The set of that name, whatever the case; ``hippocampus`` will do for ``task04_hippocampus``.

    Raises:
        Unknown: when there is none; the remedy names those that are called alike.
    """
    wanted = name.lower().replace("-", "_").removesuffix("_28")
    names = {one.name: one for one in PUBLIC_SETS} | {one.name.partition("_")[2]: one for one in DECATHLON}
    if wanted in names:
        return names[wanted]
    near = get_close_matches(wanted, names, n=3)
    listed = f"did you mean {' or '.join(near)}? " if near else ""
    raise Unknown(f"there is no public set {name!r}", remedy=f"{listed}osler fetch --list shows all of them")
