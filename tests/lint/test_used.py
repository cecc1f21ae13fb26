# SPDX-License-Identifier: LGPL-2.1-or-later
"""Nothing in hookd is there for its tests alone, or for nobody."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.lint.tree import TREE, name

CALLED_BY_OTHERS = {
    "connection_made": "asyncio",
    "connection_lost": "asyncio",
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


def _words() -> dict[str, Counter[str]]:
    """Return how often each word stands in the code of each file."""
    return {
        name(path): Counter(
            re.findall(r"\w+", re.sub(r'"""[\s\S]*?"""|#.*', "", path.read_text()))
        )
        for path in (TREE / "hookd").rglob("*.py")
    }


def _defined(files: Iterable[str]) -> Iterator[tuple[str, str]]:
    for file in files:
        for node in ast.walk(ast.parse((TREE / file).read_text())):
            if isinstance(node, DEFINITIONS) and not node.name.startswith("__"):
                yield file, node.name


def test_everything_is_used() -> None:
    words = _words()
    everywhere = sum(words.values(), Counter[str]())
    defined = list(_defined(words))
    unused = {
        f"{file}: {one}"
        for file, one in defined
        if (words[file] if one.startswith("_") else everywhere)[one] == 1
        and one not in CALLED_BY_OTHERS
    }
    assert unused == set()
    assert CALLED_BY_OTHERS.keys() <= {one for _, one in defined}
