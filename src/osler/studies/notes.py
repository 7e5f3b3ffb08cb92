"""What readers say of how they read (``Image.notes``), put together over many studies."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from osler.studies.volume import ImageLike

__all__ = ["grouped_notes", "notes_of"]

_NUMBER = re.compile(r"\d+(?:\.\d+)?")


def notes_of(images: Iterable[ImageLike]) -> tuple[str, ...]:
    """The notes of the images of one study, each once."""
    return tuple(dict.fromkeys(note for image in images for note in image.notes))


def grouped_notes(notes: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
    """Notes that differ in their numbers only are one: "the gantry was tilted by …°".

    Args:
        notes: of each study, by its name.

    Returns:
        By what is said, the note of each study that it is said of.
    """
    kinds: dict[str, dict[str, str]] = {}
    for name, texts in notes.items():
        for text in texts:
            kinds.setdefault(_NUMBER.sub("…", text), {})[name] = text
    return {
        next(iter(found.values())) if len(set(found.values())) == 1 else kind: found for kind, found in kinds.items()
    }
