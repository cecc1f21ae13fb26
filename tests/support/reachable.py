# SPDX-License-Identifier: LGPL-2.1-or-later
"""A hookd that other users can run, where the tree is in a directory that is closed to them.

Root's home directory has mode 0700, so in a clone below it another user finds neither the
programs nor the modules. The tests that run hookd as another user take it from `programs`.
"""

from __future__ import annotations

import os
import re
import shutil
import sysconfig
from importlib import metadata
from pathlib import Path

from tests.support.daemon import BIN

TREE = Path(__file__).parents[2]
PROGRAMS = ("hookd", "hookd-runner", "hookctl")

_copied: list[Path] = []  # the directory of the copied programs, once there is one


def programs() -> Path:
    """Return the directory of a hookd and a Python with its modules that every user can run."""
    return _copied[-1] if _copied else BIN


def prepare(directory: Path) -> None:
    """Copy hookd below this directory, unless every user can run it where it is.

    In a virtual machine the tree is run as it is: hookd is not installed beside its Python.
    """
    program = BIN / "hookd"
    if os.geteuid() != 0 or not program.exists():
        return
    if not open_to_all(program, TREE / "hookd/server/main.py"):
        _copied.append(copy(directory))


def open_to_all(*files: Path) -> bool:
    """Return whether every user may read these files and search the directories above them."""
    above = {directory for file in files for directory in file.parents}
    return all(path.stat().st_mode & 0o001 for path in above) and all(
        file.stat().st_mode & 0o004 for file in files
    )


def copy(directory: Path) -> Path:
    """Make a virtual environment with hookd, what it needs and the tests; return its programs."""
    venv = directory / "reachable"
    shutil.copytree(BIN, venv / "bin", symlinks=True, ignore=_other_programs)
    shutil.copyfile(BIN.parent / "pyvenv.cfg", venv / "pyvenv.cfg")
    modules = venv / site_packages().relative_to(BIN.parent)
    for package in (TREE / "hookd", TREE / "tests", *needed_modules()):
        if package.is_dir():
            shutil.copytree(package, modules / package.name)
        else:
            shutil.copy2(package, modules)
    for program in PROGRAMS:
        script = venv / "bin" / program
        script.write_text(script.read_text().replace(str(BIN), str(venv / "bin")))
    for path in (venv, *venv.rglob("*")):  # whatever umask the tree was made with
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o555 if path.is_dir() or mode & 0o100 else mode | 0o444)
    return venv / "bin"


def site_packages() -> Path:
    """Return the directory of the installed modules."""
    return Path(sysconfig.get_path("purelib"))


def needed_modules() -> list[Path]:
    """Return the installed files and packages that hookd imports, directly or not."""
    wanted = needed("hookd")
    modules = metadata.packages_distributions().items()
    named = [name for name, owners in modules if wanted & {normal(owner) for owner in owners}]
    found = (site_packages() / file for name in named for file in (name, f"{name}.py"))
    return [path for path in found if path.exists()]


def needed(name: str) -> set[str]:
    """Return the distributions that this one needs, and those that they need."""
    found: set[str] = set()
    wanted = [name]
    while wanted:
        required = metadata.requires(wanted.pop()) or ()
        names = {normal(re.split(r"[^\w.-]", text)[0]) for text in required if ";" not in text}
        wanted.extend(names - found)
        found |= names
    return found


def normal(name: str) -> str:
    """Return the name of a distribution as PEP 503 compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _other_programs(directory: str, names: list[str]) -> set[str]:
    return {name for name in names if not name.startswith("python") and name not in PROGRAMS}
