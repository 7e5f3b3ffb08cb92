"""What a table of cases cannot say by itself: the labels in their order with their values, modality, name, and whether
it was decided that patients are not known.

``<table>.labels.json`` beside ``<table>.csv`` or ``<table>.parquet`` holds all of it; ``osler import`` writes it. A
``labels.json`` written by hand names the values of masks only: ``{"1": "lungs", "2": "heart"}``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from osler.datasets.labels import LabelSet
from osler.datasets.layouts.decathlon import read_json
from osler.errors import DatasetError

__all__ = ["LABEL_FILE_VERSION", "LabelFile", "label_file_of", "read_label_file", "read_value_names"]

LABEL_FILE_VERSION = 2


class LabelFile(BaseModel):
    """``<table>.labels.json``. ``patients`` is "unknown" where it was decided that names do not tell them apart,
    "some" where only some cases have one.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    schema_version: int = LABEL_FILE_VERSION
    name: str = ""
    modality: str = ""
    patients: Literal["", "unknown", "some"] = ""
    labels: LabelSet


def label_file_of(table: Path) -> Path:
    """Where the labels of a table lie."""
    return table.with_name(f"{table.stem}.labels.json")


def read_label_file(table: Path) -> LabelFile | None:
    """The labels beside a table; None when there are none.

    Raises:
        DatasetError: when the file is damaged, or of a newer version.
    """
    path = label_file_of(table)
    if not path.is_file():
        return None
    content = read_json(path)
    version = content.get("schema_version", LABEL_FILE_VERSION)
    if isinstance(version, int) and version > LABEL_FILE_VERSION:
        raise DatasetError(f"{path.name} was written by a newer Osler (version {version})", remedy="upgrade Osler")
    try:
        return LabelFile.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise DatasetError(
            f"{path.name} cannot be used: {where}: {first['msg'].lower()}",
            remedy="repair it, or remove it so that the labels are taken from the table",
        ) from error


def read_value_names(table: Path) -> dict[int, str]:
    """The names of masks' values in a ``labels.json`` written by hand; empty when there is none.

    Raises:
        DatasetError: when it does not name values.
    """
    named = read_json(table.with_name("labels.json"))
    if not all(str(value).isdecimal() for value in named):
        raise DatasetError("labels.json must name values", remedy='write, for example, {"1": "lungs", "2": "heart"}')
    return {int(value): str(name) for value, name in named.items()}
