"""Who asks for something, and what they get to see."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, true

from service.jobs.tables import LOCAL, Dataset, Job, Model, PartialUpload


@dataclass(frozen=True)
class Caller:
    """An owner of models, datasets and jobs; for anybody else those do not exist.

    Attributes:
        owner: The id of an API key, or ``LOCAL``.
        everything: Whether what others own can be seen too.
    """

    owner: str
    everything: bool = False

    def sees(
        self, table: type[Model] | type[Dataset] | type[Job] | type[PartialUpload]
    ) -> ColumnElement[bool]:
        """The condition that a row of ``table`` exists for this caller."""
        return true() if self.everything else table.owner == self.owner

    def may_see(self, owner: str) -> bool:
        """The same about a row that was read."""
        return self.everything or owner == self.owner


# The service itself, and whoever uses it on this machine without a key.
OURSELVES = Caller(LOCAL, everything=True)
