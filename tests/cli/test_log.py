"""The shape of the log's lines, whatever stands in them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from pgcat_trio.observe import log as observe_log

if TYPE_CHECKING:
    from collections.abc import Iterator

SECRET = "the-secret-of-a-local-variable"


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


def written(style: observe_log.Format, *, color: bool = False, **fields: Any) -> str:
    file = io.StringIO()
    observe_log.configure("INFO", style, color=color, file=file)
    structlog.get_logger("pgcat_trio.test").info("thing.happened", **fields)
    return file.getvalue().partition(" ")[2] if style != "structured" else file.getvalue()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (5, "5"),
        ("plain", "plain"),
        ("", '""'),
        ("two words", '"two words"'),
        ('a"b', r'"a\"b"'),
        ("a=b", '"a=b"'),
        ("back\\slash", r'"back\\slash"'),
        ("Zoë", "Zoë"),
        ("line\nbreak", r'"line\nbreak"'),
        ("\x1b[31mred", r'"\u001b[31mred"'),
        ("\u2028", r'"\u2028"'),
        ("\x9b31m", r'"\u009b31m"'),
        ("\udcff", r'"\udcff"'),
        (None, "None"),
    ],
)
def test_a_text_line_is_one_line_without_control_characters(value: object, shown: str) -> None:
    assert written("text", value=value) == f"INFO    pgcat_trio.test: thing.happened value={shown}\n"


def test_debug_has_a_line_per_field() -> None:
    expected = "INFO    pgcat_trio.test: thing.happened\n    one=1\n    two=2\n"
    assert written("debug", one=1, two=2) == expected


def test_structured_is_json_with_the_origin_first() -> None:
    event = json.loads(written("structured", value="a\nb", level="mine"))
    assert list(event) == ["timestamp", "level", "logger", "event", "value"]
    assert event["level"] == "INFO"
    assert event["value"] == "a\nb"


def test_a_file_that_cannot_take_a_character_gets_its_escape() -> None:
    raw = io.BytesIO()
    observe_log.configure(file=io.TextIOWrapper(raw, encoding="ascii"))
    structlog.get_logger("pgcat_trio.test").info("thing.happened", who="Zoë")
    assert raw.getvalue().endswith(b"who=Zo\\xeb\n")


@pytest.mark.parametrize("style", ["text", "debug", "structured"])
def test_tracebacks_show_the_way_but_no_values(style: observe_log.Format) -> None:
    file = io.StringIO()
    observe_log.configure(style=style, file=file)

    def fails(password: str) -> None:
        raise ValueError(f"a password of {len(password)} characters")

    try:
        fails(SECRET)
    except ValueError:
        structlog.get_logger("pgcat_trio.test").exception("client.bug")
    assert "in fails" in file.getvalue() or '"name": "fails"' in file.getvalue()
    assert "a password of 30 characters" in file.getvalue()
    assert SECRET not in file.getvalue()


@pytest.mark.parametrize(("level", "count"), [("debug", 2), ("TRACE", 2), ("info", 1), ("WARN", 0), ("error", 0)])
def test_levels(level: str, count: int) -> None:
    file = io.StringIO()
    observe_log.configure(level, file=file)
    logger = structlog.get_logger("pgcat_trio.test")
    logger.debug("thing.happened")
    logger.info("thing.happened")
    assert file.getvalue().count("\n") == count
