"""Spot: a place in a YAML file, with what stands there and how to say where it is wrong.

PyYAML's loaders give values, which know no lines. Its composer gives nodes, which do; nothing but plain scalars is ever made
of them, so a file cannot have code run.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import yaml

from otpq.errors import UsageError, did_you_mean

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

__all__ = ["BadFile", "Spot", "read_yaml"]

_NULL: Final = "tag:yaml.org,2002:null"
_SHOWN: Final = 80
"""Characters of a wrong value that a message shows."""


class BadFile(UsageError):
    """A file cannot be read, or says what cannot be right; the message has the line, and what would be right."""


def read_yaml(path: Path) -> Spot:
    """The file's one document, from its top.

    Raises:
        BadFile: It cannot be read, or is no YAML.
    """
    try:
        text = path.read_text(encoding="utf-8")
        top = yaml.compose(text, Loader=yaml.SafeLoader)
    except OSError as error:
        raise BadFile(f"{path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise BadFile(f"{path} is not UTF-8: {error.reason} at byte {error.start}") from error
    except yaml.MarkedYAMLError as error:
        line = "" if error.problem_mark is None else f", line {error.problem_mark.line + 1}"
        raise BadFile(f"{path}{line} is no YAML: {error.problem or error.context}") from error
    except yaml.YAMLError as error:
        raise BadFile(f"{path} is no YAML: {str(error).partition(chr(10))[0]}") from error
    if top is None:
        raise BadFile(f"{path} is empty")
    return Spot(path, "", top, top.start_mark.line + 1)


class Spot:
    """What stands at one place."""

    def __init__(self, file: Path, keys: str, node: yaml.Node, line: int) -> None:
        self.file = file
        self.keys = keys
        """The keys that lead there, with dots between them."""
        self.line = line
        """Counted from 1; of a key's value, the key's."""
        self._node = node

    def wrong(self, what: str) -> BadFile:
        """The error that says what is wrong here."""
        return BadFile(f"{self.keys or 'the top'} in {self.file.name}, line {self.line}: {what}")

    @contextmanager
    def blamed(self) -> Iterator[None]:
        """Have an error that is raised inside say that it is about what stands here."""
        try:
            yield
        except BadFile:
            raise
        except UsageError as error:
            raise self.wrong(str(error)) from None

    # --- maps and lists ---------------------------------------------------------------------------------------------

    def entries(self, known: Collection[str] | None = None) -> dict[str, Spot]:
        """The values of a map by their keys, in their order; of nothing, none.

        Args:
            known: The keys that there may be; None: any.

        Raises:
            BadFile: It is no map; a key is not known, or stands there twice.
        """
        if self.is_empty:
            return {}
        if not isinstance(self._node, yaml.MappingNode):
            raise self.refused(f"a map{_either(known)}")
        found: dict[str, Spot] = {}
        for key, value in self._node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise BadFile(f"{self._inside(line)}: a key is a text")
            if known is not None and key.value not in known:
                near = did_you_mean(key.value, known) or _either(known)
                raise BadFile(f"unknown key {key.value!r} in {self.file.name}, line {line}{near}")
            if key.value in found:
                before = found[key.value].line
                raise BadFile(f"{self._inside(line)}: the key {key.value!r} stands in line {before} already")
            found[key.value] = Spot(self.file, f"{self.keys}.{key.value}".lstrip("."), value, line)
        return found

    def items(self) -> list[Spot]:
        """The values of a list.

        Raises:
            BadFile: It is none.
        """
        if not isinstance(self._node, yaml.SequenceNode):
            raise self.wrong(f"{self._shown()} is not allowed: a list, as in [a, b]")
        return [
            Spot(self.file, f"{self.keys}[{index}]", node, node.start_mark.line + 1)
            for index, node in enumerate(self._node.value)
        ]

    @property
    def is_empty(self) -> bool:
        """Whether nothing stands here."""
        return self._node.tag == _NULL

    @property
    def is_map(self) -> bool:
        """Whether it is a map."""
        return isinstance(self._node, yaml.MappingNode)

    # --- values -----------------------------------------------------------------------------------------------------

    def value(self) -> Any:
        """A scalar, or a list of them, as Python has it.

        Raises:
            BadFile: It is a map, or cannot be read as what it looks like.
        """
        if isinstance(self._node, yaml.SequenceNode):
            return [item.value() for item in self.items()]
        if not isinstance(self._node, yaml.ScalarNode):
            raise self.wrong("a map is not allowed here")
        try:
            return yaml.SafeLoader("").construct_object(self._node)
        except (yaml.YAMLError, ValueError) as error:
            raise self.wrong(f"{self._node.value!r} cannot be read: {str(error).partition(chr(10))[0]}") from None

    def plain(self) -> Any:
        """Whatever stands here as Python has it: scalars, lists, and maps by texts.

        Raises:
            BadFile: A key is no text or stands there twice, or something cannot be read.
        """
        if self.is_map:
            return {key: spot.plain() for key, spot in self.entries().items()}
        if isinstance(self._node, yaml.SequenceNode):
            return [item.plain() for item in self.items()]
        return self.value()

    def text(self, right: str = "a text") -> str:
        """A text that is not empty; `right` says in an error what is allowed."""
        value = self.value()
        if not isinstance(value, str) or not value:
            raise self.refused(right)
        return value

    def texts(self, right: str = "a list of texts, as in [a, b]") -> tuple[str, ...]:
        """A list of texts."""
        value = self.value()
        if not isinstance(value, list) or not all(isinstance(one, str) and one for one in value):
            raise self.refused(right)
        return tuple(value)

    def flag(self) -> bool:
        """True or false."""
        value = self.value()
        if not isinstance(value, bool):
            raise self.refused("true or false")
        return value

    def refused(self, right: str) -> BadFile:
        """The error that says what would be right here."""
        return self.wrong(f"{self._shown()} is not allowed: {right}")

    def _shown(self) -> str:
        if not isinstance(self._node, yaml.ScalarNode):
            return "a map" if self.is_map else "a list"
        shown = repr(self.value())
        return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}..."

    def _inside(self, line: int) -> str:
        return f"{self.keys or 'the top'} in {self.file.name}, line {line}"


def _either(known: Collection[str] | None) -> str:
    return "" if known is None else f"; the keys are {', '.join(known)}"
