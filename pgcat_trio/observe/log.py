"""The one structured log stream: one line an event, as text or as JSON, on standard output.

Event names are ``subject.what_happened``; everything else is a field. The ``debug`` format is the text format with
tracebacks spelled out. Only synchronous methods of structlog are used: its async family needs asyncio.
"""

from __future__ import annotations

import logging
import sys
from typing import Final, Literal, TextIO

import structlog

Format = Literal["text", "structured", "debug"]

LEVELS: Final = {
    "TRACE": logging.DEBUG,
    "DEBUG": logging.DEBUG,
    "INFO": logging.INFO,
    "WARN": logging.WARNING,
    "WARNING": logging.WARNING,
    "ERROR": logging.ERROR,
}


def configure(level: str = "INFO", style: Format = "text", *, color: bool = False, file: TextIO | None = None) -> None:
    """Set the process's log stream up. A library user who has configured structlog needs not call this."""
    processors: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if style == "structured":
        processors += [structlog.processors.dict_tracebacks, structlog.processors.JSONRenderer(default=str)]
    else:
        formatter = structlog.dev.rich_traceback if style == "debug" and color else structlog.dev.plain_traceback
        processors.append(
            structlog.dev.ConsoleRenderer(colors=color, pad_event_to=24, exception_formatter=formatter, sort_keys=False)
        )
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger(LEVELS[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=file or sys.stdout),
        cache_logger_on_first_use=False,
    )
