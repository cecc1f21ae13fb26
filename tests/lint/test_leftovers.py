# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever a test leaves behind fails it: one bad test of each kind, in a pytest of its own."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TREE = Path(__file__).parents[2]

BAD = {
    "nothing": "pass",
    "task": "asyncio.run(forgetful())",
    "process": "KEPT.append(subprocess.Popen(['sleep', '2']))",
    "orphan": "subprocess.run(['sh', '-c', 'setsid sleep 2 &'])",
    "descriptor": "KEPT.append(open(__file__))",
    "thread": "threading.Thread(target=time.sleep, args=[60], daemon=True).start()",
    "directory": "tempfile.mkdtemp(prefix='hookd-')",
    "socket": "with socket.socket(socket.AF_UNIX) as s: s.bind(tempfile.mktemp())",
    "last": "pass",  # at whose end all that is there is found once more
}
"""What a bad test of each kind does."""

SAID = {"orphan": "process", "directory": "file", "socket": "file"}
"""Where the complaint has another name for it."""

HEAD = """
import asyncio, socket, subprocess, tempfile, threading, time
from tests.support import leftovers
leftovers.WITHIN = 0.2
KEPT = []
async def forgetful():
    asyncio.ensure_future(asyncio.sleep(60))
"""


@pytest.fixture(scope="module")
def complaints(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return what the bad tests fail with, each once."""
    bad = tmp_path_factory.mktemp("bad") / "test_bad.py"
    tests = [f"def test_{kind}():\n    {body}\n" for kind, body in BAD.items()]
    bad.write_text(HEAD + "".join(tests))
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "--tb=line"),
            *("-c", TREE / "pyproject.toml", bad),
        ],
        cwd=TREE,
        env=os.environ | {"TMPDIR": str(bad.parent), "COLUMNS": "200"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert f"{len(BAD)} passed" in done.stdout, done.stdout + done.stderr
    found = re.findall(r"^ERROR \S*::test_(\w+) - .*left behind: (.*)", done.stdout, re.MULTILINE)
    return dict(found)


@pytest.mark.parametrize("kind", [k for k in BAD if k not in ("nothing", "last")])
def test_it_is_found(kind: str, complaints: dict[str, str]) -> None:
    assert complaints[kind].startswith(SAID.get(kind, kind))


def test_what_leaves_nothing_passes(complaints: dict[str, str]) -> None:
    assert "nothing" not in complaints
