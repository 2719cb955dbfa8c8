"""The import rules of the house: every module of the package is parsed, and each of its imports looked up here."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Final

import attrs
import pytest

PACKAGE: Final = "pgcat_trio"
ROOT: Final = Path(__file__).parents[1] / PACKAGE

ROOMS: Final = {
    "errors": (),
    "_version": (),
    "wire": ("errors",),
    "config": ("errors",),
    "routing": ("errors", "config"),
    "observe": ("errors",),
    "net": ("errors", "config"),
    "pool": ("errors", "config", "wire", "net", "routing", "observe"),
    "session": ("errors", "config", "wire", "net", "routing", "pool", "observe"),
    "server": ("errors", "_version", "config", "wire", "net", "routing", "pool", "session", "observe"),
    "embedded": (),
    "demo": ("errors", "_version", "config", "server", "observe", "embedded"),
    "cli": ("errors", "_version", "config", "net", "server", "observe", "demo"),
    "__init__": ("errors", "_version", "config", "server"),
    "__main__": ("cli",),
}
"""Who may import whom. A room may always import itself."""

PURE: Final = ("wire", "config", "routing")
"""Rooms whose decisions never wait, and never look at the clock or at another process."""

IMPURE: Final = frozenset(
    {
        *("trio", "trio_util", "outcome", "asyncio", "threading", "subprocess", "signal", "select", "selectors"),
        *("socket", "ssl", "time", "logging", "structlog"),
    }
)

LATE_IMPORTS_IN: Final = ("cli",)
"""Modules that may import inside of functions: only the command line, for extras that need not be installed."""


@attrs.frozen
class Import:
    """One imported module, by its full name."""

    importer: str
    line: int
    module: str
    inside_function: bool

    def __str__(self) -> str:
        return f"{self.importer}, line {self.line}: imports {self.module}"


def imports_of(source: str, importer: str, package: str) -> list[Import]:
    """The imports of a module; ``package`` is what its relative imports start from."""
    tree = ast.parse(source)
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    inside = {id(node) for function in functions for node in ast.walk(function)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            # ``from .. import wire`` imports a module by its last word, which only the room table can tell.
            modules = [f"{base}.{alias.name}" for alias in node.names]
        else:
            continue
        found += [Import(importer, node.lineno, module, id(node) in inside) for module in modules]
    return found


def room_of(module: str) -> str | None:
    """The room of a module of the package; None for a module of somebody else, and for a name of the package itself."""
    words = module.split(".")
    if words[0] != PACKAGE or len(words) < 2:
        return None
    # Files that only the embedded cluster is made of.
    return "embedded" if words[1].startswith("_embedded_") else words[1]


def all_imports() -> list[Import]:
    found = []
    for file in sorted(ROOT.rglob("*.py")):
        words = [PACKAGE, *file.relative_to(ROOT).with_suffix("").parts]
        package = words[:-1]
        found += imports_of(file.read_text(), ".".join(words), ".".join(package))
    return found


IMPORTS: Final = all_imports()


def violations(imports: list[Import]) -> list[str]:
    found = []
    for each in imports:
        importer, imported = room_of(each.importer), room_of(each.module)
        assert importer is not None
        if imported is not None and imported != importer and imported not in ROOMS.get(importer, ()):
            found.append(f"{each}: {importer} must not import {imported}")
        if importer in PURE and each.module.split(".")[0] in IMPURE:
            found.append(f"{each}: {importer} decides; it does not wait, watch or log")
        if each.inside_function and importer not in LATE_IMPORTS_IN:
            found.append(f"{each}, inside of a function")
    return found


def test_the_package_keeps_the_rules() -> None:
    assert violations(IMPORTS) == []


def test_every_room_is_in_the_table() -> None:
    assert {room_of(each.importer) for each in IMPORTS} | {"_version"} == ROOMS.keys()


def test_every_permission_goes_downwards() -> None:
    """The table has no circle: each room imports only rooms that stand above it."""
    names = list(ROOMS)
    order = {name: index for index, name in enumerate(names)}
    assert [(room, other) for room, others in ROOMS.items() for other in others if order[other] >= order[room]] == []


@pytest.mark.parametrize(
    ("importer", "source", "wrong"),
    [
        ("wire.x", "import trio", True),
        ("wire.x", "from ..routing.lexer import split", True),
        ("routing.x", "from pgcat_trio.wire import codes", True),
        ("routing.x", "from .. import wire", True),
        ("routing.x", "from time import monotonic", True),
        ("config.x", "import logging", True),
        ("pool.x", "from ..session.session import Session", True),
        ("session.x", "from ..server import supervisor", True),
        ("observe.x", "from ..config import load_config", True),
        ("server.admin.x", "from ...cli import main", True),
        ("embedded", "from .errors import ProxyError", True),
        ("server.x", "def f():\n    import json", True),
        ("pool.x", "if TYPE_CHECKING:\n    from ..session.session import Session", True),
        ("cli", "def f():\n    from .demo import run", False),
        ("wire.x", "from ..errors import ProxyError\nfrom . import codes\nimport struct", False),
        ("server.admin.x", "from ..directory import Directory\nfrom ...pool.pool import Pool\nimport trio", False),
    ],
)
def test_the_rules_find_what_they_shall(importer: str, source: str, wrong: bool) -> None:
    full = f"{PACKAGE}.{importer}"
    package = full.rpartition(".")[0]
    assert bool(violations(imports_of(source, full, package))) is wrong
