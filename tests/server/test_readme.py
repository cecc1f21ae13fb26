# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the README shows works as it stands there, but for the path of the socket."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from hookd.confdir import load_files
from tests.support.daemon import BIN, Daemon
from tests.support.wire import Wire

README = (Path(__file__).parents[2] / "README.md").read_text()
SOCKET = "/run/hookd/hookd.sock"


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_the_hook_file(scratch: Path) -> None:
    (text,) = blocks("toml")
    path = scratch / "freeze.toml"
    path.write_text(text)
    hook = load_files([path]).config.hooks["freeze"]
    assert hook.run.overlap == "serial"
    assert hook.match.profile == ("db-*",)


def test_the_python_client(daemon: Daemon) -> None:
    daemon.start()
    (code,) = blocks("python")
    code = code.replace("Client()", f"Client({str(daemon.socket)!r})")
    subprocess.run([sys.executable, "-c", code], check=True)
    with Wire(daemon.socket) as wire:
        assert wire.job(1)["state"] == "ended"


def test_the_shell_commands(daemon: Daemon) -> None:
    daemon.start()
    lines = re.findall(
        r"^    (job=.*\n    hookctl end .*|printf .*\n        socat .*)", README, re.M
    )
    assert len(lines) == 2
    for at, text in enumerate(lines, 1):
        if at == 2:
            with Wire(daemon.socket) as wire:
                wire.start()
            text = text.replace('"job_id":1', '"job_id":2')
        text = text.replace(SOCKET, str(daemon.socket))
        text = text.replace("hookctl ", f"{BIN / 'hookctl'} --socket {daemon.socket} ")
        subprocess.run(["sh", "-ec", text], check=True)
        with Wire(daemon.socket) as wire:
            assert wire.job(at)["state"] == "ended"
