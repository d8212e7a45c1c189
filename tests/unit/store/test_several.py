"""One statement for many rows."""

import apsw
import pytest

from otpq.store.several import several


@pytest.mark.parametrize("count", [0, 1, 9, 10, 11, 49, 50, 51, 60, 111])
def test_all_rows_are_written_once_each_in_order_by_few_statements(count: int) -> None:
    db = apsw.Connection(":memory:")
    db.execute("CREATE TABLE t (one INTEGER PRIMARY KEY, two TEXT DEFAULT (lower('X')))")
    rows = [(number, f"({number}, ?)") for number in range(count)]
    values = [value for row in rows for value in row]
    statements = 0
    for statement, some in several("INSERT INTO t (one, two) VALUES (?, ?)", values, 2):
        db.execute(statement, some)
        statements += 1
    assert list(db.execute("SELECT one, two FROM t ORDER BY one")) == rows
    assert statements == count // 50 + count % 50 // 10 + count % 10
