"""Threads of the processor."""

from __future__ import annotations

import os

import torch

__all__ = ["set_threads"]


def set_threads(threads: int) -> None:
    """Use so many threads; 0 takes every core that this process may use (torch by itself counts only some)."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or available)
