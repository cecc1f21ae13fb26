# SPDX-License-Identifier: LGPL-2.1-or-later
"""Show hookd at work: three clients at once and three hooks, one of which exceeds its time limit.

Run by `make demo`. Starts a daemon in a scratch directory, uses it with hookctl, and removes both.
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
SETTINGS = '[daemon]\ndrain = "5s"\n'
# Chosen here on purpose, as the hooks write into the scratch directory.
AS_ROOT = '[defaults]\nrun = { user = "root" }\n'
INSTALLED = "/usr/local/libexec/hookd"  # where the example hook files expect the scripts
SCRIPTS = ("append-arguments", "start-or-complete", "job-started", "job-completed")
READY_WITHIN = 15.0  # seconds
CLIENTS = (
    ("10.0.0.7", "563", "Mail Archive", "ann@example.com", "12", "34567"),
    ("10.0.0.8", "571", "Accounts", "bob@example.com", "3", "1048576"),
    ("fe80::1", "563", "Photos", "cem@example.com", "2048", "9876543210"),
)

OVERSTAY = """\
# Needs a minute at the end of each job, and is allowed one second.
command = "/bin/sleep 60"
phases = ["end"]
[limits]
timeout = "1s"
"""

NEXT = """\
packaging/tour         every hookctl command, on live jobs
README.md              write a hook of your own and run it
make deb, make rpm     build a package and install the services
docs/clients           report jobs from your backup program
"""


def title(text: str) -> None:
    """Print the heading of the next section."""
    print(f"\n== {text}", flush=True)


def lay_out(scratch: Path) -> None:
    """Write the configuration: the two example hooks, and one that exceeds its time limit."""
    hooks = scratch / "hooks.d"
    hooks.mkdir()
    for name in SCRIPTS:
        shutil.copyfile(HERE / name, scratch / name)
        (scratch / name).chmod(0o755)
    (scratch / "hookd.toml").write_text(SETTINGS + (AS_ROOT if os.geteuid() == 0 else ""))
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
    """Report the jobs, then show their hooks and results."""
    title("Three clients start a job at the same time")
    starts = [
        hookctl(
            scratch, "start", "--wait", "--client-ip", ip, "--client-build-no", build,
            "--profile", profile, "--user", user,
        )
        for ip, build, profile, user, _, _ in CLIENTS
    ]  # fmt: skip
    ids = [process.communicate()[0].strip() for process in starts]
    print(f"job IDs: {' '.join(ids)}")
    title("The jobs end; the hook overstay sleeps for 60 s, but its time limit is 1 s")
    ends = [
        hookctl(
            scratch, "end", "--wait", job, "--file-count", files, "--byte-count", size,
            "--outcome", "success",
        )
        for job, (_, _, _, _, files, size) in zip(ids, CLIENTS, strict=True)
    ]  # fmt: skip
    for process in ends:
        process.wait()
    title("The hook append-arguments has written")
    print((scratch / "result.txt").read_text(), end="")
    title("What hookd has recorded")
    show(scratch, "jobs")
    show(scratch, "job", ids[0])
    show(scratch, "hooks")


def show_records(scratch: Path) -> None:
    """Print the records: from the journal, or from standard error where there is none."""
    title("The journal records")
    text = (scratch / "log").read_text()
    if "HOOKD_RUN_ID" not in text:
        show(scratch, "logs", "--since", "30s")
        return
    for line in text.splitlines():
        print(re.sub(r" \(HOOKD_.*\)$", "", line))
    title("One record with all its fields")
    print(next(line for line in text.splitlines() if "HOOKD_RESULT=timeout" in line))


def main() -> None:
    """Run the demo; exit with the exit status of the daemon."""
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
        title("What to try next")
        print(NEXT, end="")
    finally:
        shutil.rmtree(scratch)
    sys.exit(status)


if __name__ == "__main__":
    main()
