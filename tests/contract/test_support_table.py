"""The page of operators says what the tables say."""

from __future__ import annotations

from tests import support_table


def test_the_page_is_that_of_the_tables() -> None:
    expected = support_table.render()
    assert support_table.PAGE.read_text("utf-8") == expected, "run python -m tests.support_table"
