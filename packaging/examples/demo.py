# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd at work, in a scratch directory: three clients at once, three hooks, one of them stuck.

Run by `make demo`. Starts a daemon of its own, talks to it by hookctl, and takes all of it away.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
BIN = Path(sys.executable).parent
INSTALLED = "/usr/local/libexec/hookd"  # where the example hook files expect the scripts
SCRIPTS = ("append-arguments", "start-or-complete", "job-started", "job-completed")
READY_WITHIN = 15.0  # seconds
CLIENTS = (
    ("10.0.0.7", "563", "Mail Archive", "ann@example.com", "12", "34567"),
    ("10.0.0.8", "571", "Accounts", "bob@example.com", "3", "1048576"),
    ("fe80::1", "563", "Photos", "cem@example.com", "2048", "9876543210"),
)

OVERSTAY = """\
# Wants a minute at the end of each job, and may have a second.
command = "/bin/sleep 60"
phases = ["end"]
[limits]
timeout = "1s"
"""


def title(text: str) -> None:
    """Print what comes next."""
    print(f"\n== {text}", flush=True)


def lay_out(scratch: Path) -> None:
    """Make the daemon's configuration: the two example hooks, and one that overstays."""
    hooks = scratch / "hooks.d"
    hooks.mkdir()
    for name in SCRIPTS:
        shutil.copyfile(HERE / name, scratch / name)
        (scratch / name).chmod(0o755)
    (scratch / "hookd.toml").write_text('[daemon]\ndrain = "5s"\n')
    for example in (HERE / "hooks.d").glob("*.toml"):
        text = example.read_text().replace(INSTALLED, str(scratch))
        text = text.replace("/var/local/hookd/jobs.txt", str(scratch / "result.txt"))
        (hooks / example.name).write_text(text)
    (hooks / "overstay.toml").write_text(OVERSTAY)


def start_daemon(scratch: Path) -> subprocess.Popen[bytes]:
    """Start hookd and return it once it has said, as sd_notify(3) has it, that it is ready."""
    notify = scratch / "notify"
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ready,
        (scratch / "log").open("wb") as log,
    ):
        ready.bind(str(notify))
        ready.settimeout(READY_WITHIN)
        daemon = subprocess.Popen(
            [
                str(BIN / "hookd"),
                "--config",
                "hookd.toml",
                "--socket",
                "hookd.sock",
                "--state-dir",
                ".",
            ],
            cwd=scratch,
            env=os.environ | {"NOTIFY_SOCKET": str(notify)},
            stderr=log,
        )
        try:
            while b"READY=1" not in ready.recv(4096).split(b"\n"):
                pass
        except TimeoutError:
            daemon.kill()
            daemon.wait()
            sys.exit(f"hookd was not ready in time:\n{(scratch / 'log').read_text()}")
    return daemon


def hookctl(scratch: Path, *arguments: str) -> subprocess.Popen[str]:
    """Show a hookctl command, and start it."""
    print("$ hookctl " + shlex.join(arguments), flush=True)
    command = [str(BIN / "hookctl"), "--socket", str(scratch / "hookd.sock"), *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def show(scratch: Path, *arguments: str) -> None:
    """Run a hookctl command and print what it prints."""
    print(hookctl(scratch, *arguments).communicate()[0], flush=True)


def play(scratch: Path) -> None:
    """Send the jobs and show what came of them."""
    title("Three clients start a job at once")
    starts = [
        hookctl(
            scratch, "start", "--wait", "--client-ip", ip, "--client-build-no", build,
            "--profile", profile, "--user", user,
        )
        for ip, build, profile, user, _, _ in CLIENTS
    ]  # fmt: skip
    ids = [process.communicate()[0].strip() for process in starts]
    print(f"job IDs: {' '.join(ids)}")
    title("... and end it; the hook overstay has a second, and wants sixty")
    ends = [
        hookctl(
            scratch, "end", "--wait", job, "--file-count", files, "--byte-count", size,
            "--outcome", "success",
        )
        for job, (_, _, _, _, files, size) in zip(ids, CLIENTS, strict=True)
    ]  # fmt: skip
    for process in ends:
        process.wait()
    title("What the hook append-arguments wrote")
    print((scratch / "result.txt").read_text(), end="")
    title("What hookd knows of it")
    show(scratch, "jobs")
    show(scratch, "job", ids[0])
    show(scratch, "hooks")


def show_records(scratch: Path) -> None:
    """Print the daemon's records: from its standard error, where no journal took them."""
    title("The records")
    text = (scratch / "log").read_text()
    if "HOOKD_RUN_ID" not in text:
        show(scratch, "logs", "--since", "30s")
        return
    for line in text.splitlines():
        print(re.sub(r" \(HOOKD_.*\)$", "", line))
    title("... one of them with all its fields")
    print(next(line for line in text.splitlines() if "HOOKD_RESULT=timeout" in line))


def main() -> None:
    """Lay out, start, play, stop, clean up; exit with what the daemon exited with."""
    os.umask(0o022)  # hookd runs nothing that a group could have written
    scratch = Path(tempfile.mkdtemp(prefix="hookd-demo-"))
    try:
        lay_out(scratch)
        daemon = start_daemon(scratch)
        try:
            play(scratch)
        finally:
            daemon.send_signal(signal.SIGTERM)
            status = daemon.wait()
        show_records(scratch)
        title(f"hookd stopped, exit status {status}")
    finally:
        shutil.rmtree(scratch)
    sys.exit(status)


if __name__ == "__main__":
    main()
