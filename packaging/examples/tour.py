# SPDX-License-Identifier: LGPL-2.1-or-later
"""Show every command of hookctl on live jobs: one stuck, one failing, one refused by a gate.

    tour.py [--write FILE]

Runs a daemon of its own in a scratch directory. --write writes the output as a Markdown page.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import textwrap
from pathlib import Path

from demo import AS_ROOT, BIN, start_daemon

SHOWN_AS = "/srv/tour"  # instead of the scratch directory's random name
COLUMNS, ROWS = 98, 20
WATCHED = 1.5  # seconds: enough for several displays of hookctl watch; the last is shown

SETTINGS = '[daemon]\ndrain = "1s"\n'
SCRIPTS = {
    "gate": 'test "$HOOKD_PROFILE" != Archive || { echo "the tape is full"; exit 1; }\n',
    "verify": 'echo "checking $1"; echo "checksum of a.img differs" >&2; exit 3\n',
}
HOOKS = {
    "gate": 'command = "{0}/gate"\nkind = "gate"\nphases = ["start"]\n',
    "notify": 'command = "/bin/echo $PHASE of $JOB_ID from $CLIENT_IP"\n',
    "snapshot": (
        'command = "/bin/sleep 300"\nphases = ["start"]\n[match]\nprofile = ["Database"]\n'
        '[limits]\ntimeout = "5min"\nkill_grace = "1s"\n'
    ),
    "verify": (
        'command = "{0}/verify $PROFILE"\nphases = ["end"]\n'
        '[match]\nprofile = ["Mail*"]\n[retry]\nquarantine_after = 2\n'
    ),
}
APPCONFIG = """\
<AppConfig>
  <parameter name="httpPort" type="2" value="5800"></parameter>
  <parameter name="jobHookScript" type="1" value="/opt/hook.sh $EVENT $PROFILE &quot;$USER&quot;"/>
</AppConfig>
"""


class Tour:
    """Runs the steps in a scratch directory and keeps their output as Markdown."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.page: list[str] = []
        self._in_block = False

    def say(self, title: str, text: str = "") -> None:
        """Begin a chapter."""
        self._block(False)
        self._print(f"## {title}\n")
        if text:
            self._print(textwrap.fill(text, 90) + "\n")

    def run(self, line: str) -> None:
        """Run a shell line with hookctl for this daemon; show it, its output and its status."""
        self._block(True)
        self._print(f"$ {line}")
        done = subprocess.run(
            ["sh", "-c", line],
            cwd=self.scratch,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.stdout:
            self._print(done.stdout.rstrip("\n"))
        if done.returncode:
            self._print(f"(exit status {done.returncode})")

    def watch(self) -> None:
        """Run hookctl watch for a moment; show its last display."""
        self._block(True)
        self._print("$ hookctl watch")
        command = ["timeout", "-s", "INT", str(WATCHED), "hookctl", "watch"]
        picture = on_a_terminal(command, self._environment(), ROWS, COLUMNS)
        bare = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", picture)
        lines = [line.rstrip() for line in bare.splitlines()]
        self._print("\n".join(lines).strip())

    def text(self) -> str:
        """Return the page."""
        self._block(False)
        return "\n".join(self.page).rstrip() + "\n"

    def _environment(self) -> dict[str, str]:
        path = f"{self.scratch}/bin:{os.environ['PATH']}"
        return os.environ | {"PATH": path, "TERM": "xterm", "NO_COLOR": "1"}

    def _block(self, wanted: bool) -> None:
        if self._in_block != wanted:
            self._print("```" if wanted else "```\n")
            self._in_block = wanted

    def _print(self, text: str) -> None:
        text = text.replace(str(self.scratch), SHOWN_AS)
        print(text, flush=True)
        self.page.append(text)


def on_a_terminal(command: list[str], environment: dict[str, str], rows: int, columns: int) -> str:
    """Return the last screen of a command on a terminal of this size."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
    path = shutil.which(command[0], path=environment["PATH"])
    with subprocess.Popen(command, executable=path, env=environment, stdin=theirs, stdout=theirs):
        os.close(theirs)
        screen = b""
        while data := _read(ours):
            screen += data
    os.close(ours)
    return screen.decode().split("\x1b[H")[-1].partition("\x1b[?1049l")[0]


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the other side is closed, see pty(7)
        return b""


def lay_out(scratch: Path) -> None:
    """Write scripts, hook files, and a hookctl that uses the socket of this daemon."""
    for folder in ("hooks.d", "bin"):
        (scratch / folder).mkdir()
    (scratch / "hookd.toml").write_text(SETTINGS + (AS_ROOT if os.geteuid() == 0 else ""))
    hookctl = f'exec {BIN}/hookctl --socket {scratch}/hookd.sock "$@"\n'
    scripts = {**SCRIPTS, "bin/hookctl": hookctl}
    for name, text in scripts.items():
        (scratch / name).write_text("#!/bin/sh\n" + text)
        (scratch / name).chmod(0o755)
    for name, text in HOOKS.items():
        (scratch / "hooks.d" / f"{name}.toml").write_text(text.replace("{0}", str(scratch)))
    (scratch / "AppConfig.xml").write_text(APPCONFIG)


def backup_jobs(tour: Tour) -> None:
    """Show the commands of a backup server."""
    tour.say(
        "Jobs",
        "A backup script reports the start and the end of each job. A gate hook can refuse a "
        "start; the exit status is 75 then. With --wait, hookctl waits for the hooks and reports "
        "failures.",
    )
    start = "hookctl start --user ann@example.com --client-ip"
    tour.run(f"{start} 10.0.0.7 --profile 'Mail Archive' --attribute tape=A7")
    tour.run(f"{start} 10.0.0.8 --profile Database")
    tour.run(f"{start} 10.0.0.9 --profile Archive")
    tour.run("hookctl end 1 --file-count 12 --byte-count 34567 --outcome success --wait")
    tour.say("Syncrify", "hookctl syncrify takes the arguments of Syncrify's jobHookScript.")
    tour.run("hookctl syncrify true 10.0.0.7 563 Mail_Archive bob@example.com 0 0 41")
    tour.run("hookctl syncrify false 10.0.0.7 563 Mail_Archive bob@example.com 9 1024 41")
    tour.run("hookctl import-syncrify AppConfig.xml --output -")


def looking(tour: Tour) -> None:
    """Show the commands that an operator uses to inspect hookd."""
    tour.say("Status and jobs")
    tour.run("hookctl status")
    tour.run("hookctl jobs")
    tour.run("hookctl jobs --unfinished")
    tour.run("hookctl jobs --state running --json")
    tour.say("One job")
    tour.run("hookctl job 1")
    tour.run("hookctl why 1")
    tour.run("hookctl logs 1 --since 2min")
    tour.say("Running hooks", "hookctl watch updates its display with each change.")
    tour.watch()


def mending(tour: Tour) -> None:
    """Show the commands that an operator uses to control hookd."""
    tour.say("Cancel a stuck hook")
    tour.run("hookctl cancel 2")
    tour.say(
        "Repair a failing hook",
        "The hook has failed twice in a row. Its file sets quarantine_after = 2, so it is parked.",
    )
    tour.run("hookctl hooks")
    tour.run("hookctl test verify --phase end --profile 'Mail Archive'")
    tour.run("printf '#!/bin/sh\\necho \"$1 is fine\"\\n' >verify")
    tour.run("hookctl test verify --phase end --profile 'Mail Archive'")
    tour.run("hookctl test verify --phase end --profile Photos --dry-run")
    tour.run("hookctl resume verify")
    tour.run("hookctl replay 1")
    tour.say("An invalid configuration is not applied")
    tour.run("echo 'comand = \"/bin/true\"' >hooks.d/extra.toml; hookctl check hooks.d/extra.toml")
    tour.run("hookctl reload")
    tour.run("rm hooks.d/extra.toml; hookctl reload")
    tour.say("Metrics for Prometheus")
    tour.run("hookctl metrics | grep -v '^#' | head -12")


def main() -> None:
    """Run the tour."""
    os.umask(0o022)  # hookd runs nothing that a group could have written
    scratch = Path(tempfile.mkdtemp(prefix="hookd-tour-"))
    tour = Tour(scratch)
    tour.page.append("# A tour of hookctl\n\n`make tour` writes this page; times vary.\n")
    try:
        lay_out(scratch)
        daemon = start_daemon(scratch)
        try:
            for chapter in (backup_jobs, looking, mending):
                chapter(tour)
        finally:
            daemon.send_signal(signal.SIGTERM)
            status = daemon.wait()
        page = tour.text()
    finally:
        shutil.rmtree(scratch)
    if sys.argv[1:2] == ["--write"]:
        Path(sys.argv[2]).write_text(page)
    sys.exit(status)


if __name__ == "__main__":
    main()
