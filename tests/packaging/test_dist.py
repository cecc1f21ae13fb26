# SPDX-License-Identifier: LGPL-2.1-or-later
"""The source archive and the wheel: whole, and the same bytes each time."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Callable
from pathlib import Path
from zipfile import ZipFile

import pytest

import hookd
from tests.lint.tree import TREE, files, name

EPOCH = "1795000000"
NAME = f"hookd-{hookd.__version__}"
MACHINE = re.sub(r"\W", "_", sysconfig.get_platform())
WHEEL = f"{NAME}-py3-none-{MACHINE}.whl"  # its one program is for this kind of machine
PROGRAM = "hookd/runner/launch/hookd-launcher"

WRITTEN = {name(path) for path in files()}


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the tree as it is now, which somebody may be working on."""
    copy = tmp_path_factory.mktemp("tree")
    for file in WRITTEN:
        (copy / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(TREE / file, copy / file)
    return copy


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory, tree: Path) -> Callable[[str, int], Path]:
    """Return a builder from a copy of the tree, in a directory of its own."""

    def built(folder: str, umask: int) -> Path:
        target = tmp_path_factory.mktemp(folder)
        source = target / "source"
        shutil.copytree(tree, source, copy_function=shutil.copyfile)
        for file in WRITTEN:
            (source / file).chmod((tree / file).stat().st_mode & ~umask)
        done = subprocess.run(
            [sys.executable, TREE / "packaging/dist.py", source, target],
            env=os.environ | {"SOURCE_DATE_EPOCH": EPOCH},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert done.returncode == 0, done.stdout
        return target

    return built


@pytest.fixture(scope="module")
def dist(build: Callable[[str, int], Path]) -> Path:
    return build("dist", 0o022)


def test_the_same_bytes_twice(dist: Path, build: Callable[[str, int], Path]) -> None:
    again = build("somewhere-else", 0o077)
    made = [path.name for path in dist.iterdir() if path.is_file()]
    assert sorted(made) == [WHEEL, f"{NAME}.tar.gz"]
    for file in made:
        assert (dist / file).read_bytes() == (again / file).read_bytes(), file


def test_the_archive_has_the_tree(dist: Path) -> None:
    with tarfile.open(dist / f"{NAME}.tar.gz") as archive:
        found = {member.name.removeprefix(f"{NAME}/"): member for member in archive.getmembers()}
    assert WRITTEN - found.keys() == set()
    made = {"PKG-INFO", "setup.cfg"}
    assert {n for n in found.keys() - WRITTEN if "egg-info" not in n} <= made
    assert {(m.uid, m.uname, m.mtime) for m in found.values()} == {(0, "", int(EPOCH))}
    assert found["packaging/setup"].mode == 0o755


def test_the_wheel_has_hookd_alone(dist: Path) -> None:
    with ZipFile(dist / WHEEL) as wheel:
        found = set(wheel.namelist())
        (commands,) = [n for n in found if n.endswith("entry_points.txt")]
        said = wheel.read(commands).decode()
        mode = wheel.getinfo(PROGRAM).external_attr >> 16
    assert {n for n in found if n.startswith("hookd/")} == {
        n for n in WRITTEN if n.startswith("hookd/") and not n.endswith((".c", ".h"))
    } | {PROGRAM}
    assert stat.S_IMODE(mode) == 0o755
    assert {n.partition("/")[0] for n in found} == {"hookd", f"{NAME}.dist-info"}
    assert any(n.endswith("COPYING") for n in found)
    assert all(f"\n{command} = " in said for command in ("hookctl", "hookd", "hookd-runner"))
