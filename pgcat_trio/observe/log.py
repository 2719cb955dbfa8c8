"""The one structured log stream: one line an event, as text or as JSON, on standard output.

Event names are ``subject.what_happened``; everything else is a field. Values come from clients and servers too:
whatever they contain, a text line stays one line and carries no control characters to the terminal. Only a bug has a
traceback, and it shows no values of variables, which may be secrets. Only synchronous methods of structlog are used:
its async family needs asyncio.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import structlog

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    Event = MutableMapping[str, Any]

Format = Literal["text", "structured", "debug"]

FORMATS: Final = ("text", "structured", "debug")
LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
}

_COLORS: Final = {"DEBUG": "\x1b[34m", "INFO": "\x1b[32m", "WARNING": "\x1b[33m", "ERROR": "\x1b[31m"}
_DIM: Final = "\x1b[2m"
_PLAIN: Final = "\x1b[0m"


def configure(
    level: str = "INFO",
    style: Format = "text",
    *,
    color: bool = False,
    file: TextIO | None = None,
    observer: Callable[[Event], None] | None = None,
) -> None:
    """Set the process's log stream up. A library user who has configured structlog needs not call this.

    ``observer`` is called with a copy of each event that is written, its level and logger included.
    """
    render = _render_json if style == "structured" else _TextRenderer(color=color, spread=style == "debug")
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_origin,
    ]
    if observer is not None:
        processors.append(_tee(observer))
    if style == "structured":
        processors.append(_traceback_as_dict)
    sink = file or sys.stdout
    structlog.configure(
        processors=[*processors, render],
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level.upper()]),
        logger_factory=lambda *names: _Sink(sink, names[0] if names else "pgcat_trio"),
        cache_logger_on_first_use=False,
    )


class _Sink:
    """Where lines go. Never raises: a log that nobody reads any more must not end the proxy."""

    def __init__(self, file: TextIO, name: str) -> None:
        self.name = name
        self._file = file

    def write(self, line: str) -> None:
        try:
            self._file.write(line + "\n")
            self._file.flush()
        except UnicodeEncodeError:
            self.write(line.encode("ascii", "backslashreplace").decode())
        except (OSError, ValueError):
            pass  # the pipe has no reader, the disk is full, or the file is closed

    debug = info = warning = error = critical = write


_traceback_as_dict: Final = structlog.processors.ExceptionRenderer(
    structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
)


def _add_origin(logger: Any, method: str, event: Event) -> Event:
    event["level"] = method.upper()
    event["logger"] = logger.name
    return event


def _tee(observer: Callable[[Event], None]) -> structlog.typing.Processor:
    def observe(_logger: Any, _method: str, event: Event) -> Event:
        observer(dict(event))
        return event

    return observe


def _render_json(_logger: Any, _method: str, event: Event) -> str:
    first = {key: event.pop(key) for key in ("timestamp", "level", "logger", "event")}
    return json.dumps({**first, **event}, default=str)


class _TextRenderer:
    """``TIME LEVEL logger: event key=value``; ``spread`` puts each field on a line of its own."""

    def __init__(self, *, color: bool, spread: bool) -> None:
        self._color = color
        self._separator = "\n    " if spread else " "

    def __call__(self, _logger: Any, _method: str, event: Event) -> str:
        timestamp, level, name, what = (event.pop(key) for key in ("timestamp", "level", "logger", "event"))
        error = event.pop("exc_info", None)
        head = f"{self._paint(_DIM, timestamp)} {self._paint(_COLORS[level], f'{level:7}')} {name}: {quoted(what, ' ')}"
        line = self._separator.join([head, *(f"{self._paint(_DIM, key + '=')}{quoted(event[key])}" for key in event)])
        return line if not error else f"{line}\n{_traceback(error).rstrip()}"

    def _paint(self, code: str, text: str) -> str:
        return f"{code}{text}{_PLAIN}" if self._color else text


def quoted(value: object, allowed: str = "") -> str:
    """A value as a text line shows it: in quotes, as JSON has them, unless it is one plain word."""
    text = str(value)
    if text.isprintable():
        plain = text and not any(c in ' "=\\' and c not in allowed for c in text)
        return text if plain else json.dumps(text, ensure_ascii=False)
    return json.dumps(text)


def _traceback(error: object) -> str:
    """The traceback of an ``exc_info`` of structlog, which may be an exception, the triple or True."""
    if isinstance(error, tuple):
        error = error[1]
    elif not isinstance(error, BaseException):
        error = sys.exc_info()[1]
    return "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
