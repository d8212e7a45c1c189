"""The shell on a terminal: a prompt with completion, history and several lines. prompt_toolkit alone, with our own evaluator.

The prompt is awaited in the loop of the inputs, so what they have started there goes on while one types.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from textwrap import dedent
from typing import TYPE_CHECKING, Final

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import Completer, Completion, ThreadedCompleter
from prompt_toolkit.enums import DEFAULT_BUFFER
from prompt_toolkit.filters import has_focus
from prompt_toolkit.history import FileHistory, History, InMemoryHistory
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.lexers import PygmentsLexer
from prompt_toolkit.patch_stdout import patch_stdout
from pygments.lexers.python import PythonLexer

from otpq.shell.completion import candidates
from otpq.shell.facts import Facts, asks
from otpq.shell.statements import is_whole

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prompt_toolkit.buffer import Buffer
    from prompt_toolkit.completion import CompleteEvent
    from prompt_toolkit.document import Document
    from prompt_toolkit.formatted_text import StyleAndTextTuples
    from prompt_toolkit.key_binding import KeyPressEvent

    from otpq.shell.session import Shell

__all__ = ["HISTORY", "run_terminal"]

HISTORY: Final = Path("~/.otpq/shell_history")
_LOOK: Final = 0.5
"""Seconds after which a prompt that stands there looks again whether the node is away."""
_INDENT: Final = 4


def run_terminal(shell: Shell) -> None:
    """Read and run inputs until Ctrl-D."""
    session = _session(shell)

    async def read() -> str:
        with patch_stdout(raw=True):  # what is printed meanwhile stands above the prompt
            return await session.prompt_async()

    while True:
        try:
            shell.run(dedent(shell.evaluator.wait(read())))  # what is pasted may stand further in
        except KeyboardInterrupt:  # the line is given up
            continue
        except EOFError:
            return


def _session(shell: Shell) -> PromptSession[str]:
    return PromptSession(
        message=lambda: _prompt(shell),
        prompt_continuation=lambda width, _line, _wrapped: f"{'...> ':>{width}}",
        multiline=True,
        lexer=PygmentsLexer(PythonLexer),
        completer=ThreadedCompleter(_Completer(shell)),
        complete_while_typing=False,
        history=_history(shell),
        enable_history_search=True,
        key_bindings=_keys(),
        refresh_interval=_LOOK,
        enable_suspend=True,
    )


def _prompt(shell: Shell) -> StyleAndTextTuples:
    client = shell.client
    away = "" if client.why_away is None else " is away"
    return [("bold", f"otpq({client.node}"), ("bold ansired", away), ("bold", f"){shell.evaluator.number}> ")]


def _history(shell: Shell) -> History:
    """What was typed in earlier runs; it may have secrets in it, so nobody else reads it."""
    file = HISTORY.expanduser()
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_APPEND | os.O_RDWR, 0o600))
    except OSError as error:
        shell.output.warn(f"otpq: no history is kept: {error}")
        return InMemoryHistory()
    return FileHistory(file)


class _Completer(Completer):
    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._facts = Facts(asks(lambda: shell.client))

    def get_completions(self, document: Document, _event: CompleteEvent) -> Iterator[Completion]:
        """In a thread of its own."""
        word, found = candidates(document.text_before_cursor, self._shell.names, self._facts.of)
        for one in found:
            yield Completion(one.text, start_position=-len(word), display_meta=one.about)


def _keys() -> KeyBindings:
    keys = KeyBindings()

    @keys.add("enter", filter=has_focus(DEFAULT_BUFFER))
    def enter(event: KeyPressEvent) -> None:
        """Take the completion that is chosen; else run what is whole, or open another line."""
        buffer = event.current_buffer
        if buffer.complete_state is not None and buffer.complete_state.current_completion is not None:
            buffer.complete_state = None
        elif not buffer.document.text_after_cursor.strip() and is_whole(buffer.text):
            buffer.validate_and_handle()
        else:
            _open_line(buffer)

    @keys.add("tab", filter=has_focus(DEFAULT_BUFFER))
    def tab(event: KeyPressEvent) -> None:
        """Complete; at the beginning of a further line, indent."""
        buffer = event.current_buffer
        if buffer.document.cursor_position_row > 0 and not buffer.document.current_line_before_cursor.strip():
            buffer.insert_text(" " * _INDENT)
        elif buffer.complete_state is not None:
            buffer.complete_next()
        else:
            buffer.start_completion(insert_common_part=True)

    return keys


def _open_line(buffer: Buffer) -> None:
    """A new line, indented as the one above, further behind a colon."""
    line = buffer.document.current_line_before_cursor
    indent = len(line) - len(line.lstrip())
    buffer.insert_text("\n" + " " * (indent + (_INDENT if re.search(r":\s*(#.*)?$", line) else 0)))
