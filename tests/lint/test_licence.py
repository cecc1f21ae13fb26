# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every file says its licence, and the licence is there."""

from __future__ import annotations

import tomllib
from pathlib import Path

from tests.lint.tree import TREE, files, name

LICENCE = "LGPL-2.1-or-later"
LINE = f"SPDX-License-Identifier: {LICENCE}"
PROSE = (".md", ".svg")  # which COPYING covers
SILENT = {
    ".gitignore": "a list of names",
    "COPYING": "the licence itself",
    "hookd/interfaces/org.varlink.service.varlink": "the Varlink project's text",
    "hookd/py.typed": "empty, as PEP 561 has it",
    "packaging/debian/changelog": "packaging/debian/copyright speaks for it",
    "packaging/debian/control": "packaging/debian/copyright speaks for it",
    "packaging/debian/copyright": "names the licence in its own form",
    "packaging/debian/hookd.dirs": "a list of names",
    "packaging/debian/hookd.docs": "a list of names",
    "packaging/debian/hookd.examples": "a list of names",
    "packaging/debian/hookd.install": "a list of names",
    "packaging/debian/hookd.lintian-overrides": "a list of names",
    "packaging/debian/hookd.manpages": "a list of names",
    "packaging/debian/source/format": "one word",
    "packaging/debian/tests/control": "packaging/debian/copyright speaks for it",
}
"""What has no line of its own, and why."""


def _says_it(path: Path) -> bool:
    return any(LINE in line for line in path.read_text(errors="replace").splitlines()[:2])


def test_the_licence_stands_first() -> None:
    found = [path for path in files() if path.suffix not in PROSE]
    wrong = {name(path) for path in found if not _says_it(path)}
    assert wrong == set(SILENT)


def test_the_licence_is_there_and_named() -> None:
    assert "GNU LESSER GENERAL PUBLIC LICENSE" in (TREE / "COPYING").read_text()
    project = tomllib.loads((TREE / "pyproject.toml").read_text())["project"]
    assert project["license"] == {"text": LICENCE}
    for place in ("README.md", "packaging/rpm/hookd.spec"):
        assert LICENCE in (TREE / place).read_text(), place
    assert "LGPL-2.1+" in (TREE / "packaging/debian/copyright").read_text()
