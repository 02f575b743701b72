"""The ways to use the database share its connections."""

from __future__ import annotations

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from service.jobs.tables import Model
from tests.service.world import World

COUNT = select(func.count()).select_from(Model)


def test_transactions_are_still_some_after_a_query_by_itself(world: World) -> None:
    db = world.parts.db
    told = {"name": "", "format": "onnx", "sha256": "", "size": 0, "created_at": 0.0}
    for _ in range(3):
        assert db.rows(COUNT)[0][0] == 1
        with pytest.raises(IntegrityError), db.write() as session:
            session.execute(insert(Model), [{"id": "mdl_1", **told}, {"id": "mdl_1", **told}])
    with db.read() as reader:
        assert reader.scalar(COUNT) == 1
        with db.write() as session:
            session.execute(insert(Model), [{"id": "mdl_2", **told}])
        assert db.rows(COUNT.where(Model.id.in_(["mdl_2"])))[0][0] == 1
