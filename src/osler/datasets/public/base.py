"""``PublicSet``: a data set that somebody else published, where it lies, and under which licence."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PublicSet"]


@dataclass(frozen=True)
class PublicSet:
    """One file to fetch.

    Args:
        name: how it is asked for, in lower case.
        family: what it is a part of ("MedMNIST", "Medical Segmentation Decathlon").
        about: what it shows, for a list.
        url: where the file lies.
        file: its name on disk.
        md5: of the file, as its publishers give it.
        licence: its short name.
        licence_url: its text.
        cite: the publication that the publishers ask to cite.
        unpack: whether it is an archive whose content is the data set.
    """

    name: str
    family: str
    about: str
    url: str
    file: str
    md5: str
    licence: str
    licence_url: str
    cite: str
    unpack: bool = False

    @property
    def terms(self) -> str:
        """One line about the licence, with what it forbids where it forbids something."""
        limits = []
        limits += ["not for commercial use"] if "-NC" in self.licence else []
        limits += ["what is made from it must carry the same licence"] if "-SA" in self.licence else []
        return f"licence {self.licence} ({self.licence_url})" + (f": {', '.join(limits)}" if limits else "")
