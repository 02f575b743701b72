"""Telling that memory ran out from other reasons to be killed."""

from __future__ import annotations

import re
from pathlib import Path

# Version 2 of control groups, then version 1; inside a container its own group is at the root.
COUNTERS = (Path("/sys/fs/cgroup/memory.events"), Path("/sys/fs/cgroup/memory/memory.oom_control"))
# What torch, ONNX Runtime and the C++ library say, none of them by a class of its own.
CPU_WORDS = re.compile(
    r"can't allocate memory|bad_alloc|Failed to allocate memory|Cannot allocate memory|out of memory", re.I
)
CUDA_WORDS = re.compile(r"\bCUDA\b|\bHIP\b|\bcudaMalloc\b")


def kills() -> int:
    """How often the kernel ended a process of our control group because memory ran out."""
    for path in COUNTERS:
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), re.MULTILINE)
        except OSError:
            continue
        if found:
            return int(found[1])
    return 0


def exhausted_device(error: BaseException) -> str | None:
    """The device whose memory ``error`` says ran out; None if it says something else."""
    text = str(error)
    if isinstance(error, MemoryError):
        return "cpu"
    if not isinstance(error, RuntimeError) or not CPU_WORDS.search(text):
        return None
    return "cuda" if CUDA_WORDS.search(text) else "cpu"
