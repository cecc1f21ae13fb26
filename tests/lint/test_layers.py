# SPDX-License-Identifier: LGPL-2.1-or-later
"""Which part of hookd may know which other: the import graph against a table."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

LAYERS = {
    "vocabulary": ("errors", "model", "template", "options", "config", "link", "records"),
    "terminal": ("terminal", "usage"),
    "memory": ("memory",),
    "faults": ("faults",),
    "manager": ("notify",),
    "trust": ("trust",),
    "files": ("confdir",),
    "journal": ("journal",),
    "lookups": ("lookups",),
    "sockets": ("sockets", "server.hangups", "server.turns"),
    "decisions": (
        "server.protocol",
        "server.lifecycle",
        "server.admission",
        "server.matching",
        "server.room",
        "server.schedule",
        "server.shape",
    ),
    "books": (
        "server.entries",
        "server.rows",
        "server.books",
        "server.runbooks",
        "server.archive",
        "server.schema",
    ),
    "connection": ("server.session",),
    "database": ("server.database", "server.marks", "server.wal"),
    "effects": ("server.listener", "server.store", "server.runnerlink"),
    "client": ("client",),
    # The one place that knows both processes: what `--check` looks with.
    "audit": ("audit",),
    # And every other file of a folder: the owner of the server, the runner, the commands.
    "owner": ("server",),
    "runner": ("runner",),
    "cli": ("cli",),
}

MAY_IMPORT: dict[str, set[str]] = {
    "vocabulary": {"vocabulary"},
    "terminal": {"vocabulary", "terminal"},
    "memory": set(),
    "faults": {"terminal"},
    "manager": {"faults"},
    "trust": set(),
    "files": {"vocabulary", "trust"},
    "journal": {"vocabulary", "faults"},
    "lookups": set(),
    "sockets": {"trust", "faults"},
    "decisions": {"vocabulary", "decisions"},
    "books": {"vocabulary", "decisions", "books"},
    "connection": {"vocabulary", "sockets", "decisions", "faults"},
    "database": {"vocabulary", "books", "database"},
    "effects": {
        "vocabulary",
        "database",
        "sockets",
        "decisions",
        "books",
        "connection",
        "faults",
    },  # not one another
    "client": {"vocabulary"},
    "audit": {"vocabulary", "files", "owner", "runner"},
    "owner": {
        "terminal",
        "memory",
        "faults",
        "manager",
        "vocabulary",
        "trust",
        "files",
        "journal",
        "lookups",
        "sockets",
        "decisions",
        "books",
        "connection",
        "effects",
        "owner",
        "audit",
        "database",
    },
    "runner": {
        "terminal",
        "memory",
        "faults",
        "manager",
        "vocabulary",
        "trust",
        "files",
        "journal",
        "lookups",
        "sockets",
        "runner",
    },
    "cli": {"vocabulary", "terminal", "files", "client", "cli", "audit"},
}

WORLD = {
    "asyncio", "ctypes", "fcntl", "grp", "io", "logging", "multiprocessing", "os", "pathlib",
    "psutil", "pwd", "random", "resource", "sdnotify", "select", "shutil", "signal", "socket",
    "subprocess", "systemd", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
"""What reads a clock, a file, a process or a socket: not for what decides."""


def _module(path: Path) -> str:
    parts = path.relative_to(TREE / "hookd").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


FOLDERS = ("server", "runner", "cli")


@cache
def _sources() -> dict[str, set[str]]:
    """Return what each module imports, by full names."""
    return {_module(path): _imports(path) for path in (TREE / "hookd").rglob("*.py")}


def _known(imported: str) -> str:
    """Return the module of hookd that an imported name lies in."""
    name = imported.removeprefix("hookd").removeprefix(".")
    while name and name not in _sources():
        name = name.rpartition(".")[0]
    return name


@cache
def _graph() -> dict[str, set[str]]:
    """Return which modules of hookd each imports."""
    return {
        module: {_known(name) for name in names if name.split(".")[0] == "hookd"} - {""}
        for module, names in _sources().items()
    }


@cache
def _outside() -> dict[str, set[str]]:
    """Return which packages each module imports that are not hookd."""
    return {
        module: {name.split(".")[0] for name in names} - {"hookd"}
        for module, names in _sources().items()
    }


def _layer(module: str) -> str:
    for layer, modules in LAYERS.items():
        if module in modules or module.split(".")[0] in modules:
            return layer
    raise AssertionError(f"hookd/{module.replace('.', '/')}.py belongs to no layer: LAYERS")


def test_every_file_knows_only_what_its_layer_may_know() -> None:
    wrong = [
        f"{module} ({_layer(module)}) imports {other} ({_layer(other)})"
        for module, others in _graph().items()
        for other in others
        if module and _layer(other) not in MAY_IMPORT[_layer(module)]
    ]  # fmt: skip
    assert wrong == []


def test_there_is_no_cycle() -> None:
    assert len(list(TopologicalSorter(_graph()).static_order())) == len(_graph())


def test_every_module_of_the_table_exists() -> None:
    modules = [m for names in LAYERS.values() for m in names if m not in FOLDERS]
    assert [module for module in modules if module not in _sources()] == []


@pytest.mark.parametrize("layer", ["vocabulary", "decisions", "books"])
def test_what_decides_knows_nothing_of_the_world(layer: str) -> None:
    wrong = {m: _outside()[m] & WORLD for m in LAYERS[layer] if _outside()[m] & WORLD}
    assert wrong == {}


def test_one_facility_one_place() -> None:
    places = {
        "sqlite3": {"books", "database", "effects"},
        "psutil": {"runner"},
        "subprocess": {"runner", "effects"},
        "click": {"cli"},
        "rich": {"cli"},
        "systemd": {"cli", "sockets"},  # to read the journal and to be handed sockets, not to send
        "prometheus_client": {"cli"},  # seven megabytes that no daemon is to carry
        "logging": set(),
        "shlex": set(),
    }
    for facility, layers in places.items():
        used = {_layer(module) for module, names in _outside().items() if facility in names}
        assert used <= layers, facility


def test_the_client_is_light() -> None:
    """A backup server imports it: the standard library, msgspec and two files of ours."""
    assert _graph()["client"] == {"errors", "model"}
    assert _outside()["client"] - sys.stdlib_module_names == {"msgspec"}
    assert "asyncio" not in _outside()["client"]
