"""The list of decoders, by task."""

from __future__ import annotations

from osler.datasets.plan import TaskName
from osler.inference.decoders.base import Cell, Decoded, Decoder
from osler.inference.decoders.classify import ClassifyDecoder
from osler.inference.decoders.multilabel import MultilabelDecoder
from osler.inference.decoders.ordinal import OrdinalDecoder
from osler.inference.decoders.regress import RegressDecoder
from osler.inference.decoders.segment import SegmentDecoder

__all__ = ["DECODERS", "Cell", "Decoded", "Decoder"]

DECODERS: dict[TaskName, Decoder] = {
    "classify": ClassifyDecoder(),
    "multilabel": MultilabelDecoder(),
    "ordinal": OrdinalDecoder(),
    "regress": RegressDecoder(),
    "segment": SegmentDecoder(),
}
