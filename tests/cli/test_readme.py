"""What the README and the pages of docs/ say is so: their commands, their tables, their programs."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from pgcat_trio import errors, parse_config

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
PAGES = {file: file.read_text() for file in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"))}
EVENT = re.compile(r"[a-z]+\.[a-z_]+")


def table(first_heading: str) -> list[list[str]]:
    """The cells of the one table whose first heading this is."""
    (rest,) = [rest for text in PAGES.values() for rest in text.split(f"\n| {first_heading} |")[1:]]
    lines = rest.partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line.strip("|"))] for line in lines]


def logged_events() -> set[str]:
    """The first arguments of all calls of ``log.<level>`` and ``write`` in the package, where they are events."""
    found = set()
    for file in (ROOT / "pgcat_trio").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if not isinstance(node, ast.Call) or not node.args:
                continue
            called = node.func.value if isinstance(node.func, ast.Attribute) else node.func
            if isinstance(called, ast.Name) and called.id in ("log", "write"):
                constants = [each for each in ast.walk(node.args[0]) if isinstance(each, ast.Constant)]
                found |= {each.value for each in constants if EVENT.fullmatch(str(each.value))}
    return found


def test_every_event_of_the_log_is_in_the_table_and_no_other() -> None:
    described = {name for row in table("Event") for name in re.findall(r"`([a-z.]+_?[a-z_]*)`", row[0])}
    assert described == logged_events()


def test_every_error_is_in_the_table_as_it_is() -> None:
    own = [
        cls
        for cls in vars(errors).values()
        if isinstance(cls, type) and issubclass(cls, errors.ProxyError) and "sqlstate" in vars(cls)
    ]
    expected = {(c.sqlstate, f"`{c.__name__}`", "yes" if c.safe_to_retry else "no") for c in own}
    assert {(row[0], row[1], row[2]) for row in table("SQLSTATE")} == expected - {("XX000", "`ProxyError`", "no")}


def test_ci_runs_exactly_the_command_for_the_tests() -> None:
    (command,) = re.findall(r"^python3 -m pip install nox && python3 -m nox -s tests$", README, re.MULTILINE)
    assert f"\n{command}\n" in (ROOT / ".ci" / "run").read_text()


def test_the_configuration_shown_can_be_used() -> None:
    (text,) = re.findall(r"```toml\n(.*?)```", README, re.DOTALL)
    assert parse_config(text).warnings == ()


def test_every_key_named_is_in_the_reference() -> None:
    reference = (ROOT / "config" / "pgcat.toml").read_text()
    named = {key for row in table("Keys") for key in re.findall(r"`([a-z_]+)`", row[0])}
    assert {key for key in named if not re.search(rf"^#?{key} = ", reference, re.MULTILINE)} == set()


def test_every_link_leads_somewhere() -> None:
    broken = []
    for file, text in PAGES.items():
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, anchor = target.partition("#")
            page = (file.parent / path).resolve() if path else file
            if "://" not in target and not (page.exists() and (not anchor or anchor in anchors(page))):
                broken.append((file.name, target))
    assert broken == []


def anchors(page: Path) -> set[str]:
    """What can stand behind ``#`` in a link to a page, as code hosts make it of headings."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}
