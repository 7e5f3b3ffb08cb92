"""``Hardware``: what planning knows of the machine. Found without torch."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict

__all__ = ["Hardware"]


class Hardware(BaseModel):
    """``cores`` that this process may use, main memory in GiB, whether bf16 runs natively, and the GPU, if any."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    processor: str = "unknown"
    cores: int = 2
    memory_gib: float = 8.0
    bf16: bool = False
    gpu: str | None = None
    gpu_memory_gib: float = 0.0

    @classmethod
    def detect(cls) -> Hardware:
        """Read it from the operating system; the GPU is filled in by learning, which can ask torch."""
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        name, flags = _processor()
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
        return cls(
            processor=name,
            cores=cores,
            memory_gib=round(memory, 1),
            bf16=bool(flags & {"avx512_bf16", "amx_bf16", "bf16"}),
        )


def _processor() -> tuple[str, set[str]]:
    """Model name and feature flags, from Linux; ("unknown", none) elsewhere, where float32 is planned."""
    path = Path("/proc/cpuinfo")
    if not path.is_file():
        return "unknown", set()
    name, flags = "unknown", set[str]()
    for line in path.read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            name = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = set(value.split())
            break
    return name, flags
