"""What a node says on a terminal, second by second."""

from __future__ import annotations

import msgpack
import pytest

from otpq.node.console_lines import BUSY, FAILURES, HANDLERS, ConsoleLines, Line
from otpq.queue.messages import RunEnd

ID = bytes(range(16))
ENDED = 1_000_000.0
RAN = msgpack.packb(["a@h", "incarnation", "default/2", 4711])


def run(
    state: str = "succeeded",
    *,
    name: str = "mail.send",
    took: float | None = 0.0125,
    error: bytes | None = None,
    reason: str | None = None,
) -> RunEnd:
    began = None if took is None else ENDED - took
    ran = None if took is None else RAN
    return RunEnd(ID, name, state, 1, began, ENDED, ENDED + 2.0, reason, error, ran)


def failure(message: str = "no such address") -> RunEnd:
    return run("failed", error=msgpack.packb(["ValueError", message, "Traceback ..."]), reason="error")


def texts(lines: list[Line]) -> list[str]:
    return [" ".join(line.text.split()) for line in lines]


def test_a_run_below_ten_a_second_has_a_line_of_its_own() -> None:
    (line,) = ConsoleLines().take(0.0, [run()])
    clock, *rest = line.text.split()
    assert clock.count(":") == 2
    assert " ".join(rest) == f"mail.send succeeded 12.5 ms attempt 1 worker default/2 (pid 4711) {ID.hex()}"
    assert line.tone == "plain"


def test_a_task_that_ended_without_a_run_has_a_shorter_one() -> None:
    (text,) = texts(ConsoleLines().take(0.0, [run("expired", took=None)._replace(attempt=0)]))
    assert text.split(maxsplit=1)[1] == f"mail.send expired {ID.hex()}"


def test_a_failure_has_its_error_in_a_second_line() -> None:
    lines = ConsoleLines().take(0.0, [failure("no\nsuch")])
    assert texts(lines)[1] == "ValueError: no"
    assert [line.tone for line in lines] == ["failure", "failure"]


def test_a_run_that_will_be_retried_says_when() -> None:
    lines = ConsoleLines().take(0.0, [failure()._replace(state="retrying")])
    assert "retrying 12.5 ms in 2 s attempt 1" in texts(lines)[0]
    assert [line.tone for line in lines] == ["retry", "retry"]


def test_a_failure_without_an_error_says_its_reason() -> None:
    assert texts(ConsoleLines().take(0.0, [run("failed", reason="lost")]))[1] == "lost"


def test_an_error_cannot_write_on_the_terminal_what_it_likes() -> None:
    (_, error) = texts(ConsoleLines().take(0.0, [failure("\x1b[2J" + "x" * 1000)]))
    assert "\x1b" not in error
    assert len(error) < 200


def test_from_the_tenth_in_a_second_on_runs_are_counted_and_told_at_its_end() -> None:
    lines = ConsoleLines()
    first = lines.take(0.0, [run() for _ in range(BUSY + 90)])
    assert len(first) == BUSY - 1
    assert lines.tick(0.999) == []
    (text,) = texts(lines.tick(1.0))
    assert text == "mail.send 91 done 0 failed 0 retried mean 12.5 ms"


def test_each_run_is_told_once_whatever_the_rate() -> None:
    lines = ConsoleLines()
    alone = counted = 0
    for step in range(200):  # 20 s: 10 at first, then 100 a second, then 5
        size = 10 if step < 100 else 1
        said = texts([*lines.take(step / 10, [run()] * size)])
        for text in said:
            if "done" in text:
                counted += int(text.split()[1])
            else:
                alone += 1
    counted += sum(int(text.split()[1]) for text in texts(lines.end()))
    assert alone + counted == 100 * 10 + 100


def test_a_busy_second_is_followed_by_counting_until_one_is_quiet() -> None:
    lines = ConsoleLines()
    lines.take(0.0, [run()] * BUSY)
    assert len(lines.take(1.0, [run()])) == 1, "the first second's count, and nothing of this run"
    assert texts(lines.take(2.0, [run()]))[0].startswith("mail.send 1 done"), "this second was quiet"
    assert "succeeded" in texts(lines.take(2.5, [run()]))[0]


def test_failures_keep_their_lines_in_a_busy_second_but_ten() -> None:
    lines = ConsoleLines()
    lines.take(0.0, [run()] * BUSY)
    said = texts(lines.take(0.5, [failure() for _ in range(FAILURES + 5)]))
    assert len(said) == 2 * FAILURES
    last = lines.tick(1.0)
    assert texts(last)[0].startswith("mail.send 1 done 15 failed")
    assert last[0].tone == "failure"
    assert texts(last)[1].startswith("and 5 more failures")


def test_the_lines_of_a_second_are_bounded_whatever_comes() -> None:
    lines = ConsoleLines()
    crowd = [failure()._replace(name=f"h{n}") for n in range(1000)]
    said = [*lines.take(0.0, crowd), *lines.take(0.5, crowd), *lines.tick(1.0)]
    assert len(said) <= 2 * (BUSY + FAILURES) + HANDLERS + 3
    assert texts(said)[-2].startswith(f"{1000 - HANDLERS} other handlers")


def test_runs_that_were_not_told_are_named() -> None:
    lines = ConsoleLines()
    lines.take(0.0, [run()], missed=1234)
    (text,) = texts(lines.tick(1.0))
    assert text.startswith("1,234 ends are not in these lines")


def test_there_is_nothing_to_wait_for_in_a_silence() -> None:
    lines = ConsoleLines()
    assert lines.wait(0.0) is None
    lines.take(0.0, [run()])
    assert lines.wait(0.25) == pytest.approx(0.75)
    lines.tick(1.0)
    lines.tick(2.0)
    assert lines.wait(2.0) is None
