"""What became of an optional form of the model."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from sosp_core.bench.compare import Comparison
from sosp_core.finetune.evaluate import Quality


@dataclass(frozen=True, kw_only=True)
class Exported:
    """A further file, judged and timed as the slim model is.

    Attributes:
        name: Of the file.
        kind: ``int8-static``, ``int8-dynamic`` or ``fp16``.
        file_bytes: Its size.
        quality: On the samples that the slim model was judged on.
        benchmark: The original against it.
    """

    name: str
    kind: str
    file_bytes: int
    quality: Quality
    benchmark: tuple[Comparison, ...]

    def to_json(self) -> dict[str, Any]:
        """All fields, ready for JSON."""
        return {
            "name": self.name,
            "kind": self.kind,
            "file_bytes": self.file_bytes,
            **asdict(self.quality),
            "latency": [c.to_json() for c in self.benchmark],
        }
