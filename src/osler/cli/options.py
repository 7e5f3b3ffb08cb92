"""Options that several commands share, each written once."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

__all__ = [
    "Data",
    "Device",
    "EngineName",
    "Force",
    "Json",
    "Mirror",
    "ModelFolder",
    "Output",
    "Patient",
    "Precision",
    "Task",
    "Threads",
]

TaskName = Literal["classify", "multilabel", "ordinal", "regress", "segment"]

Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="A folder of studies, or a .csv, .parquet, .npz or COCO .json.", show_default=False
    ),
]
ModelFolder = Annotated[
    Path,
    typer.Argument(metavar="MODEL", help="A folder that osler train, convert or compress wrote.", show_default=False),
]
Output = Annotated[Path, typer.Option("--output", "-o", help="Where to write.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="End with one line of JSON on stdout.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite what is at --output.")]
Patient = Annotated[
    str | None,
    typer.Option(
        metavar="REGEX",
        help="Finds the patient in a study's name: its first group, or the whole match.",
        show_default=False,
    ),
]
Task = Annotated[
    TaskName | None,
    typer.Option(help="What to learn; the labels tell when it is not given.", show_default=False),
]
EngineName = Annotated[str, typer.Option("--engine", help="openvino, onnxruntime or torch.")]
Device = Annotated[str, typer.Option("--device", help="auto, cpu or cuda.")]
Threads = Annotated[int, typer.Option("--threads", min=0, help="Processor threads; 0 lets the library decide.")]
Mirror = Annotated[
    bool, typer.Option("--mirror", help="Also predict mirrored copies and average: slower, a little better.")
]
Precision = Annotated[
    Literal["float32", "bf16", "int8", "auto"] | None,
    typer.Option(
        help="float32 is exact; auto takes the fastest that the processor offers and the model's parity record allows.",
        show_default="auto",
    ),
]
