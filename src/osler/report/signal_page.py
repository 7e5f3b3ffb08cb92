"""The page of an inspection of recordings: what is wrong, a table of the records, a strip of each.

One self-contained HTML file, as that of images.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from html import escape
from importlib.resources import files

import numpy as np

from osler.assurance.page import document
from osler.assurance.results import NOT_A_MEDICAL_DEVICE
from osler.assurance.sections import table
from osler.datasets.layouts.signals import SignalRecord
from osler.datasets.signal_inspection import SignalInspection, SignalRow
from osler.report.inspection_problems import png_html, problems_html
from osler.studies.geometry import Array
from osler.studies.study import Signal
from osler.studies.traces import MILLIVOLT, on_ecg_paper

__all__ = ["MOST_STRIPS", "signal_page", "strip_of"]

MOST_STRIPS = 40
_SECONDS = 10.0
_MOST_LEADS = 12
_GAINS = (10.0, 20.0, 50.0, 100.0, 200.0)  # mm of paper per millivolt
_HEIGHT = 20.0  # mm that a small signal is drawn high
_PIXELS_PER_MM = 3
_COLOURS = 64


def strip_of(record: SignalRecord, signals: Mapping[str, Signal]) -> bytes:
    """A PNG of the first ten seconds in which something was measured, of the longest signal, with its beats.

    Args:
        record: ``measured``.
        signals: its samples.

    Returns:
        The bytes; none for a signal of a single sample.
    """
    name, signal = max(signals.items(), key=lambda pair: pair[1].samples.shape[1] / pair[1].rate_hz)
    if signal.samples.shape[1] < 2:
        return b""
    shown = replace(signal, samples=signal.samples[:_MOST_LEADS], leads=signal.leads[:_MOST_LEADS])
    start = _start(shown.samples) / signal.rate_hz
    seconds = min(_SECONDS, shown.samples.shape[1] / signal.rate_hz - start)
    more = len(signal.leads) - len(shown.leads)
    words = [record.name, name if len(signals) > 1 else "", f"first {_MOST_LEADS} of {len(signal.leads)} leads"]
    caption = " · ".join(word for word in (words if more > 0 else words[:2]) if word)
    picture = on_ecg_paper(
        shown,
        start_s=start,
        seconds=seconds,
        marks=record.annotated.marks,
        caption=caption,
        mm_per_mv=_gain(shown),
        pixels_per_mm=_PIXELS_PER_MM,
    )
    data = io.BytesIO()
    picture.quantize(_COLOURS).save(data, "PNG", optimize=True)
    return data.getvalue()


def _start(samples: Array) -> int:
    """The first sample from which on something is measured, but so that what follows is not next to nothing."""
    known = np.flatnonzero(np.isfinite(samples).any(axis=0))
    last = max(0, int(samples.shape[1]) - 2)
    return min(int(known[0]), last) if known.size else 0


def _gain(signal: Signal) -> float:
    """10 mm a millivolt, and more for what would hardly be seen."""
    scale = MILLIVOLT.get(signal.unit)
    known = signal.samples[np.isfinite(signal.samples)]
    if scale is None or not known.size:
        return _GAINS[0]
    low, high = np.percentile(known, (1, 99)).tolist()
    extent = (high - low) / scale
    fitting = [gain for gain in _GAINS if gain * extent <= _HEIGHT]
    return fitting[-1] if fitting and extent * _GAINS[0] < _HEIGHT / 4 else _GAINS[0]


def signal_page(found: SignalInspection, strips: Mapping[str, bytes]) -> str:
    """The page.

    Args:
        found: what was found.
        strips: a PNG by the name of the record; not every record need have one.
    """
    heading = f"What is in {found.name}, and what is wrong with it"
    sections = {
        "wrong": ("What is wrong", problems_html(found.problems, {}, {})),
        "there": ("What is there", _there(found)),
        "strips": ("A strip of each record", _strips(found, strips)),
    }
    links = "".join(f'<a href="#{key}">{escape(title)}</a>' for key, (title, _) in sections.items())
    body = [
        f"<h1>{escape(heading)}</h1>",
        f'<p class="device">{escape(NOT_A_MEDICAL_DEVICE)}</p>',
        f'<p class="lead">{escape(found.text[:1].upper() + found.text[1:])}. Nothing was changed.</p>',
        '<div class="short"><ul><li>No model reads signals yet: they can be looked at, and nothing is planned.</li>'
        "</ul></div>",
        f"<nav>{links}</nav>",
        *(f'<section id="{key}"><h2>{escape(title)}</h2>{html}</section>' for key, (title, html) in sections.items()),
        f"<footer>{escape(NOT_A_MEDICAL_DEVICE)} Made by Osler. The same in full is in inspect.json beside this page."
        "</footer>",
    ]
    style = files("osler.report").joinpath("inspection.css").read_text(encoding="utf-8")
    return document(heading, body, style=style + ".strips figure { margin: 1rem 0; } .strips img { max-width: 100%; }")


def _there(found: SignalInspection) -> str:
    records = [
        [row.name, row.patient, f"{row.seconds:,.1f}", ", ".join(_names(row)[:12]), _marked(row)]
        for row in found.records
    ]
    head = ["Record", "Patient", "Seconds", "Leads", "Annotations"]
    leads = [
        [
            f"{row.name}: {lead.name}",
            f"{lead.rate_hz:g}",
            lead.unit,
            f"{lead.low:.4g} to {lead.high:.4g}",
            f"{100 * lead.missing:.2g} %" if lead.missing else "–",
        ]
        for row in found.records
        for lead in row.leads
    ][:500]
    lead_head = ["Lead", "Hz", "Unit", "1st to 99th percentile", "Missing"]
    told = f"<details><summary>Every lead</summary>{table(lead_head, leads, numeric={1, 3, 4})}</details>"
    return table(head, records, numeric={2}) + (told if leads else "")


def _names(row: SignalRow) -> list[str]:
    return list(dict.fromkeys(lead.name for lead in row.leads))


def _marked(row: SignalRow) -> str:
    parts = [f"{count:,} {name}" for name, count in row.beats.items()]
    parts += [f"rhythm {name} {count:,}×" for name, count in row.rhythms.items()]
    parts += [f"{count:,} × {name}" for name, count in list(row.notes.items())[:6]]
    return ", ".join(parts) or "none"


def _strips(found: SignalInspection, strips: Mapping[str, bytes]) -> str:
    hidden = len(found.records) - len(strips)
    more = f"<p>{len(strips)} of {len(found.records)} records, evenly from the first to the last.</p>" if hidden else ""
    figures = "".join(f"<figure>{png_html(png, name)}</figure>" for name, png in strips.items())
    return f'{more}<div class="strips">{figures}</div>'
