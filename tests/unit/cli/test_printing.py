from otpq.cli.printing import table
from otpq.demo.picture import tree_lines


def test_columns_are_as_wide_as_their_widest_word() -> None:
    assert table(("A", "B"), [("long", 1), ("x", 22)]) == "A     B\nlong  1\nx     22"


def test_a_tree_is_drawn_from_what_is_there() -> None:
    tree = {
        "id": None,
        "pid": "<node#1>",
        "children": [{"id": "queue_server", "restarts": 2}, {"id": "pools", "children": [{"id": "worker 1"}]}],
    }
    assert tree_lines(tree) == [
        "node (<node#1>)",
        "├── queue_server (restarted 2 times)",
        "└── pools",
        "    └── worker 1",
    ]
