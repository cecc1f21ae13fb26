# SPDX-License-Identifier: LGPL-2.1-or-later
"""`make tour` and `make picture`, without their set-up: what they show is there to be seen."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

from hookd.cli.commands import COMMANDS

TOUR = Path(__file__).parents[2] / "packaging" / "examples" / "tour.py"
LONGEST = 120.0  # seconds


def test_the_tour_shows_every_command(tmp_path: Path) -> None:
    begun = time.monotonic()
    page = tmp_path / "tour.md"
    done = subprocess.run(
        [sys.executable, str(TOUR), "--write", str(page)],
        capture_output=True,
        text=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert time.monotonic() - begun < LONGEST
    text = page.read_text()
    missing = [name for name in COMMANDS if f"hookctl {name}" not in text]
    assert missing == []
    assert "Traceback" not in text
    for shown in (
        "job 3 is refused: the tape is full\n(exit status 75)",
        "failed exit status 3\n(exit status 1)",
        "cancelled: run ",
        "4 configured, 1 parked",
        "did you mean command?",
        "4 hooks loaded",
        "hookd_healthy 1.0",
    ):
        assert shown in text
    assert list(tmp_path.iterdir()) == [page]


def test_the_picture_is_drawn_from_what_there_is(tmp_path: Path) -> None:
    picture = tmp_path / "hookctl.svg"
    subprocess.run(
        [sys.executable, str(TOUR.with_name("picture.py")), str(picture)],
        check=True,
        env=os.environ | {"TMPDIR": str(tmp_path)},
    )
    shown = "".join(ElementTree.parse(picture).getroot().itertext()).replace("\xa0", " ")
    for words in ("$ hookctl watch", "snapshot", "$ hookctl job 1", "failed exit status 3"):
        assert words in shown
    assert list(tmp_path.iterdir()) == [picture]
