# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make demo`, without its set-up: what it shows, and that it leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path

TREE = Path(__file__).parents[2]
DEMO = TREE / "packaging" / "examples" / "demo.py"
MAKE = set(re.findall(r"(?m)^([a-z-]+):", (TREE / "Makefile").read_text()))
LONGEST = 20.0  # seconds


def test_the_demo_shows_three_jobs_and_stops(tmp_path: Path) -> None:
    begun = time.monotonic()
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, str(DEMO)], capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < LONGEST
    assert "job IDs: 1 2 3" in done.stdout or re.search("job IDs: [123] [123] [123]", done.stdout)
    written = re.findall(r"(?m)^(true|false) (\S+) ", done.stdout)
    assert sorted(written) == sorted(
        (event, client)
        for event in ("true", "false")
        for client in ("10.0.0.7", "10.0.0.8", "fe80::1")
    )
    assert "Mail_Archive" in done.stdout, "the underscore rule"
    assert len(re.findall(r"(?m)^ *[123]  success .* 1 timeout$", done.stdout)) == 3
    assert "hookd stopped, exit status 0" in done.stdout
    assert not re.search("as root.*overstay", done.stdout), "it was decided on purpose"
    last = done.stdout.rpartition("== What to try next\n")[2].splitlines()
    assert len(last) >= 3
    for line in last:
        for what in line.split("  ")[0].split(", "):
            target = what.removeprefix("make ")
            assert target in MAKE if target != what else (TREE / what).exists(), line
    assert list(tmp_path.iterdir()) == []
