"""What a new job is to do."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from service.jobs.states import ANY


@dataclass(frozen=True, kw_only=True)
class JobOrder:
    """Uploads by id, and a complete recipe as plain JSON."""

    model_id: str
    dataset_id: str
    evaluation_id: str | None
    recipe: dict[str, Any]
    queue: str = ANY
    retry_of: str | None = None
    callback_url: str | None = None

    def uploads(self) -> list[str]:
        """The ids of the uploads it needs."""
        return [id for id in (self.model_id, self.dataset_id, self.evaluation_id) if id is not None]

    def fingerprint(self) -> str:
        """Equal for equal orders, whatever the order of keys."""
        told = asdict(self)
        if self.callback_url is None:  # as before there were callbacks
            del told["callback_url"]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()
