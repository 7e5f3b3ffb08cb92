"""Which images are of one patient: by a pattern that the user gives, or one proposed from the names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from osler.datasets.manifest import Manifest
from osler.errors import UsageError

__all__ = ["NO_PATIENTS", "apply_pattern", "propose_pattern", "with_patients"]

NO_PATIENTS = "none"
_SEPARATORS = r"[-_. ]"
_MOST_TOKENS = 6
_FEWEST_GROUPS = 5
_SMALLEST_MEAN = 2.0
_SHARE_OF_PAIRS = 0.8
_LARGEST_SHARE = 0.3


def with_patients(manifest: Manifest, pattern: str | None) -> Manifest:
    """The manifest with a patient per record.

    Args:
        manifest: as a layout read it.
        pattern: a regular expression searched in each case's name; its first group, or the whole match, is the
            patient. "none" forgets all patients. None keeps those that the data names and a "none" of before (which a
            written manifest remembers), and otherwise uses a pattern that the names propose: if it is wrong it keeps
            images together that need not be, never the reverse.

    Raises:
        UsageError: when the pattern is no regular expression or does not match every name.
    """
    names = [r.name for r in manifest.records]
    if pattern is None and (manifest.patients == "given" or manifest.patients_declined):
        return manifest
    proposed = propose_pattern(names)
    chosen = proposed if pattern is None else pattern
    patients: list[str | None] = [None] * len(names)
    if chosen is not None and chosen != NO_PATIENTS:
        patients = list(apply_pattern(chosen, names))
    records = tuple(r.model_copy(update={"patient": p}) for r, p in zip(manifest.records, patients, strict=True))
    known = "unknown" if patients[0] is None else "pattern"
    update = {"patients": known, "proposed_pattern": proposed, "patients_declined": chosen == NO_PATIENTS}
    return manifest.model_copy(update={"records": records, **update})


def apply_pattern(pattern: str, names: Sequence[str]) -> list[str]:
    """The patient in each name: the pattern's first group, or the whole match.

    Raises:
        UsageError: when the pattern is no regular expression or does not match every name.
    """
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise UsageError(
            f"the patient pattern {pattern!r} is not a regular expression: {error}", remedy="an example is '^([^_]+)_'"
        ) from error
    matches = [expression.search(name) for name in names]
    unmatched = [name for name, match in zip(names, matches, strict=True) if match is None]
    if unmatched:
        shown = ", ".join(unmatched[:3]) + (" ..." if len(unmatched) > 3 else "")
        raise UsageError(
            f"the patient pattern {pattern!r} does not match {len(unmatched)} of {len(names)} names ({shown})",
            remedy="widen the pattern, or rename these files",
        )
    return [(match[1] if expression.groups else match[0]) or "" for match in matches if match]


def propose_pattern(names: Sequence[str]) -> str | None:
    """A regular expression whose first group is the patient, when names share prefixes in groups; None otherwise.

    A prefix counts as a patient when it holds a digit (``benign_1``, ``benign_2`` are a class), when there are at
    least five prefixes of two images on average, nearly all of them of two or more, and none with a third of all.
    Of several such prefixes the shortest is taken, which never splits a patient.
    """
    candidates = ((len(groups), -order, p) for order, p, groups in _candidates(names) if _convincing(groups))
    best = min(candidates, key=lambda c: (c[0], -c[1]), default=None)
    return best[2] if best else None


def _candidates(names: Sequence[str]) -> Iterator[tuple[int, str, Counter[str]]]:
    """Patterns that match every name: up to a word that all share, or the first so many parts of the name."""
    tokens = [re.split(_SEPARATORS, name) for name in names]
    if not tokens:
        return
    shared = set(tokens[0]).intersection(*tokens[1:])
    words = sorted(w for w in shared if w.isalpha() and all(t[0] != w for t in tokens))
    parts = range(1, min(_MOST_TOKENS, min(map(len, tokens)) - 1) + 1)
    used = {c for name in names for c in name if c in "-_. "}
    only = used.pop() if len(used) == 1 else ""
    mark = only.replace(".", r"\.") or _SEPARATORS
    rest = f"[^{only}]+" if only else "[^-_. ]+"
    patterns = [rf"^(.+?){mark}{w}" for w in words] + [rf"^({rest}){mark}" for n in parts if n == 1]
    patterns += [rf"^((?:{rest}{mark}){{{n - 1}}}{rest}){mark}" for n in parts if n > 1]
    for order, pattern in enumerate(patterns):
        matches = [re.search(pattern, name) for name in names]
        if all(matches):
            yield order, pattern, Counter(m[1] for m in matches if m)


def _convincing(groups: Counter[str]) -> bool:
    images = groups.total()
    several = sum(count >= 2 for count in groups.values())
    return (
        len(groups) >= _FEWEST_GROUPS
        and images >= _SMALLEST_MEAN * len(groups)
        and several >= _SHARE_OF_PAIRS * len(groups)
        and max(groups.values()) <= _LARGEST_SHARE * images
        and all(any(c.isdigit() for c in prefix) for prefix in groups)
    )
