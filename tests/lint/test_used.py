# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing in hookd is there for its tests alone, or for nobody."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterator

from tests.lint.tree import TREE, name

CALLED_BY_OTHERS = {
    "eof_received": "asyncio",
    "get_buffer": "asyncio",
    "pause_writing": "asyncio",
    "resume_writing": "asyncio",
    "buffer_updated": "asyncio",
    "list_commands": "click",
    "get_command": "click",
    "import_syncrify": "hookd.cli.commands, by its name",
}
"""Who calls what nobody in hookd calls."""

DEFINITIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
WORDS = {
    name(path): Counter(re.findall(r"\w+", re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text())))
    for path in (TREE / "hookd").rglob("*.py")
}
EVERYWHERE = sum(WORDS.values(), Counter[str]())


def _defined() -> Iterator[tuple[str, str]]:
    for file in WORDS:
        for node in ast.walk(ast.parse((TREE / file).read_text())):
            if isinstance(node, DEFINITIONS) and not node.name.startswith("__"):
                yield file, node.name


def test_everything_is_used() -> None:
    unused = {
        f"{file}: {one}"
        for file, one in _defined()
        if (WORDS[file] if one.startswith("_") else EVERYWHERE)[one] == 1
        and one not in CALLED_BY_OTHERS
    }
    assert unused == set()
    assert CALLED_BY_OTHERS.keys() <= {one for _, one in _defined()}
