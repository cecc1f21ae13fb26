# SPDX-License-Identifier: LGPL-2.1-or-later
"""Draw an SVG of a terminal in which hookctl shows live jobs.

    picture.py FILE

Runs a daemon of its own in the scratch directory of the tour.
"""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from demo import start_daemon
from rich.console import Console
from rich.text import Text
from tour import HOOKS, lay_out, on_a_terminal

COLUMNS, ROWS = 80, 14
WATCHED = 2.5  # seconds: the stuck hook's bar has grown by then
TITLE = "hookctl"
# With xml:space, or some viewers drop the spaces that a line begins with.
FRAME = """\
<svg viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, monospace; font-size: {char_height}px; line-height: {line_height}px;
}}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix" xml:space="preserve">
{matrix}
</g>
</g>
</svg>
"""
SNAPSHOT = 'timeout = "5min"', 'timeout = "5s"'  # so that its bar is seen to grow


def jobs(scratch: Path) -> None:
    """Create one job that has ended and two that are running."""
    quiet = subprocess.DEVNULL  # that a hook fails is meant
    start = ["start", "--user", "ann@example.com", "--client-ip"]
    for call in (
        [*start, "10.0.0.7", "--profile", "Mail Archive", "--wait"],
        [
            "end",
            "1",
            "--file-count",
            "12",
            "--byte-count",
            "34567",
            "--outcome",
            "success",
            "--wait",
        ],
        [*start, "10.0.0.8", "--profile", "Database"],
        [*start, "fe80::1", "--profile", "Photos"],
    ):
        subprocess.run([scratch / "bin/hookctl", *call], check=False, stdout=quiet, stderr=quiet)


def draw(scratch: Path) -> str:
    """Return the picture."""
    console = Console(
        record=True,
        width=COLUMNS,
        file=io.StringIO(),
        force_terminal=True,
        color_system="truecolor",
    )
    path = f"{scratch}/bin:{os.environ['PATH']}"
    environment = {"PATH": path, "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    watch = ["timeout", "-s", "INT", str(WATCHED), "hookctl", "watch"]
    for words, command in (("watch", watch), ("job 1", ["hookctl", "job", "1"])):
        console.print(Text(f"$ hookctl {words}", style="bold"))
        shown = on_a_terminal(command, environment, ROWS, COLUMNS)
        console.print(Text.from_ansi(shown.replace("\r\n", "\n").strip("\n")))
    return console.export_svg(title=TITLE, code_format=FRAME, unique_id="hookd")


def main() -> None:
    """Draw the picture."""
    os.umask(0o022)
    scratch = Path(tempfile.mkdtemp(prefix="hookd-picture-"))
    try:
        HOOKS["snapshot"] = HOOKS["snapshot"].replace(*SNAPSHOT)
        lay_out(scratch)
        daemon = start_daemon(scratch)
        try:
            jobs(scratch)
            picture = draw(scratch)
        finally:
            daemon.send_signal(signal.SIGTERM)
            daemon.wait()
    finally:
        shutil.rmtree(scratch)
    Path(sys.argv[1]).write_text(picture)


if __name__ == "__main__":
    main()
