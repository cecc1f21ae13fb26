# SPDX-License-Identifier: LGPL-2.1-or-later
"""Folders import downward only, and what decides reads no clock, file, process or socket."""

from __future__ import annotations

import ast
import sys
from functools import cache
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

ORDER = (
    "",
    "system",
    "config",
    "server.transport",
    "server.storage",
    "server.runs",
    "server.dispatch",
    "server.api",
    "server",
    "runner.launch",
    "runner.run",
    "runner",
    "check",
    "cli",
)
"""Each folder may import itself and those before it; "" is hookd/ itself."""

APART = (("runner", "server"), ("cli", "server"), ("cli", "runner"))
"""Folders, with those inside them, of which the first must not import the second: the processes
and `hookctl` share nothing but what lies below all of them."""

UPWARD = {("server.main", "check.audit"): "hookd --check says what both processes would say"}
"""What imports upward all the same, when it is called, and why."""

MOST_FILES = 12  # of a folder, its __init__.py not counted

PURE = (
    "config.options", "config.parse", "config.template", "errors", "jobs_api", "link",
    "manager_api", "model", "server.api.access", "server.api.validation",
    "server.dispatch.matching", "server.runs.policy", "server.runs.reconcile", "server.runs.run",
    "server.runs.scheduler", "server.storage.database", "server.storage.queries",
    "server.storage.rows", "server.storage.runs", "server.storage.schema",
    "server.storage.states", "server.storage.values", "server.transport.eviction",
    "server.transport.json_limits", "server.transport.varlink", "system.records",
)  # fmt: skip
"""Files that decide: values go in, values come out."""

WORLD = {
    "asyncio", "ctypes", "fcntl", "grp", "io", "logging", "multiprocessing", "os", "pathlib",
    "psutil", "pwd", "random", "resource", "sdnotify", "select", "shutil", "signal", "socket",
    "subprocess", "systemd", "tempfile", "threading", "time", "uuid",
}  # fmt: skip
"""What reads a clock, a file, a process or a socket."""


def _module(path: Path) -> str:
    parts = path.relative_to(TREE / "hookd").with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@cache
def _sources() -> dict[str, set[str]]:
    """Return what each module imports, by full names."""
    return {_module(path): _imports(path) for path in (TREE / "hookd").rglob("*.py")}


def _imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@cache
def _folders() -> dict[str, str]:
    """Return the folder of each module."""
    packages = {_module(path) for path in (TREE / "hookd").rglob("__init__.py")}
    return {name: name if name in packages else name.rpartition(".")[0] for name in _sources()}


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


def _inside(folder: str, other: str) -> bool:
    return folder == other or folder.startswith(other + ".")


def test_every_folder_has_its_place() -> None:
    assert set(_folders().values()) == set(ORDER)


def test_folders_import_downward_only() -> None:
    wrong = []
    for module, others in _graph().items():
        for other in others:
            here, there = _folders()[module], _folders()[other]
            apart = any(_inside(here, a) and _inside(there, b) for a, b in APART)
            if (module, other) in UPWARD:
                continue
            if apart or ORDER.index(there) > ORDER.index(here):
                wrong.append(f"hookd.{module} ({here}) imports hookd.{other} ({there})")
    assert wrong == []


def test_there_is_no_cycle() -> None:
    assert len(list(TopologicalSorter(_graph()).static_order())) == len(_graph())


def test_no_folder_is_crowded() -> None:
    files = [folder for module, folder in _folders().items() if module != folder]
    crowded = {folder: files.count(folder) for folder in ORDER if folder != "cli"}
    assert {folder: count for folder, count in crowded.items() if count > MOST_FILES} == {}


@pytest.mark.parametrize("module", PURE)
def test_what_decides_knows_nothing_of_the_world(module: str) -> None:
    assert _outside()[module] & WORLD == set()


def test_one_facility_one_place() -> None:
    places = {
        "sqlite3": {"server.storage"},
        "psutil": {"runner", "runner.launch", "runner.run"},
        "subprocess": {"runner.launch", "server.transport"},
        "click": {"cli"},
        "rich": {"cli"},
        "prometheus_client": {"cli"},
        "logging": set(),
    }
    for facility, folders in places.items():
        used = {_folders()[module] for module, names in _outside().items() if facility in names}
        assert used <= folders, facility


def test_the_client_is_light() -> None:
    """A backup server imports it: the standard library, msgspec and three files of ours."""
    assert _graph()["client"] <= {"errors", "model", "jobs_api"}
    assert _outside()["client"] - sys.stdlib_module_names == {"msgspec"}
    assert "asyncio" not in _outside()["client"]
