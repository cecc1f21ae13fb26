# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server and a runner, any callback of which can be made to raise, and the work that they do."""

from __future__ import annotations

import contextlib
import itertools
import os
import pwd
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from tests.faults import injection
from tests.support.callbacks import TREE
from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.wire import END, JOB, Wire

PATIENCE_SEC = 4.0  # for one answer, and for all runs of a round to end
STOP_SEC = 15.0
HOOKS = {
    "plain": ("echo said; exec sleep 0.01", '[match]\nprofile = ["p*"]'),
    "gate": ("exit 0", 'phases = ["start"]\nkind = "gate"\non_error = "allow"\n'
             '[match]\nprofile = ["p*"]'),
    "limited": ("sleep 0.06", 'phases = ["end"]\n[match]\nprofile = ["p1"]\n'
                '[limits]\nmemory = "64M"\nprocesses = 8'),
    "again": ('[ "$HOOKD_ATTEMPT" -gt 1 ]', 'phases = ["end"]\n[match]\nprofile = ["p2"]\n'
              '[retry]\nattempts = 2\nbackoff = "50ms"'),
    "floods": ("head -c 300000 /dev/zero; sleep 0.02; echo more", 'phases = ["end"]\n'
               '[match]\nprofile = ["p1"]\n[limits]\noutput = "1K"'),
    "late": ("sleep 1", 'phases = ["start"]\nkind = "gate"\non_error = "allow"\n'
             '[match]\nprofile = ["late"]\n[limits]\ntimeout = "200ms"\nkill_grace = "50ms"\n'
             "[run]\nmax_running = 1"),
    "slow": ("sleep 0.2", 'phases = ["start"]\n[match]\nprofile = ["tied"]'),
}  # fmt: skip
EXPECTED = {("again", 1), ("late", 1)}  # attempts that fail on purpose
OWN = "an error of hookd's own"


class Bench:
    """The two processes. `hurt` counts the calls that were not answered as they should be."""

    def __init__(self, daemon: Daemon) -> None:
        self.directory = daemon.directory
        self.socket = daemon.socket
        self.side = daemon.directory / "side"
        self.side.touch()
        self.control = injection.control(self.directory / "control")
        self.hurt = 0
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._ids = itertools.count()
        for name, (what, options) in HOOKS.items():
            note = f'echo "$HOOKD_JOB_ID $HOOKD_PHASE $HOOKD_HOOK $HOOKD_ATTEMPT" >>{self.side}'
            script = daemon.script(name, f"{note}\n{what}\n")
            daemon.hook(name, f'command = "{script}"\n{options}\n')

    def start(self) -> None:
        """Start both, and wait until the server is connected to the runner."""
        config, user = self.directory / "hookd.toml", pwd.getpwuid(os.geteuid()).pw_name
        runner = ["--socket", str(self.directory / "runner.sock"), "--default-user", user]
        server = ["--socket", str(self.socket), "--state-dir", str(self.directory / "state")]
        server += ["--runner-socket", str(self.directory / "runner.sock")]
        for program, options in {"runner": runner, "server": server}.items():
            with (self.directory / f"{program}.log").open("ab") as log:
                self._processes[program] = subprocess.Popen(
                    [
                        *(sys.executable, injection.__file__, str(self.directory / "control")),
                        *(program, "-", "--config", str(config), *options),
                    ],
                    env=os.environ | {"PYTHONPATH": str(TREE)},
                    stdin=subprocess.DEVNULL,
                    stderr=log,
                )
        eventually(self.well, 30.0)

    def stop(self) -> dict[str, int]:
        """Stop both; return their exit statuses."""
        self.signal(signal.SIGTERM)
        return {name: process.wait(STOP_SEC) for name, process in self._processes.items()}

    def close(self) -> None:
        """End whatever still runs, and release the control file."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGKILL)
            for process in self._processes.values():
                process.wait()
        self.control.close()

    def signal(self, number: int) -> None:
        """Send both a signal."""
        for process in self._processes.values():
            process.send_signal(number)

    def well(self) -> bool:
        """Return whether the server is healthy and connected to the runner."""
        try:
            status = self.status()
        except (OSError, AssertionError, KeyError):
            return False
        return bool(status["healthy"] and status["runner_connected"])

    def status(self) -> dict[str, Any]:
        """Return the status."""
        with Wire(self.socket, PATIENCE_SEC) as wire:
            return wire.status()

    def call(self, method: str, parameters: dict[str, Any] | None = None, **flags: bool) -> Any:
        """Return the last reply to a call; repeat the call if it met the injected error."""
        for _ in range(3):
            reply: dict[str, Any] = {"continues": True}
            with contextlib.suppress(OSError), Wire(self.socket, PATIENCE_SEC) as wire:
                wire.send(method, parameters, **flags)
                while reply.get("continues"):
                    reply = wire.receive()
                if "parameters" in reply and "error" not in reply:
                    return reply["parameters"]
                assert not reply or reply["error"] == "io.hookd.Jobs.InternalError", reply
            self.hurt += 1
        raise AssertionError(f"{method}: no answer: {reply}")

    def round(self) -> None:
        """Do one of everything: jobs, gates, limits, retries, a tie, a test, reloads, queries."""
        jobs = []
        for profile in ("p0", "p1", "p2"):
            new = {"profile": profile, "request_id": f"s{next(self._ids)}"}
            jobs.append(self.call("StartJob", JOB | new, more=profile == "p0")["job_id"])
        with contextlib.suppress(OSError, AssertionError), Wire(self.socket, PATIENCE_SEC) as wire:
            wire.send("StartJob", JOB | {"profile": "tied", "tie": True, "wait": True})
            self.signal(signal.SIGHUP)
            self.call("io.hookd.Manager.ListJobs", {"limit": 5})
        self._late()
        for job_id in jobs:
            self.call("EndJob", END | {"job_id": job_id, "wait": True, "request_id": f"e{job_id}"})
        test = {"hook": "plain", "phase": "start", "request_id": f"t{next(self._ids)}"}
        self.call("io.hookd.Manager.TestHook", test, more=True)
        self.call("io.hookd.Manager.Reload")
        self.call("io.hookd.Manager.GetMetrics")
        eventually(self._idle, PATIENCE_SEC)

    def innocent(self) -> None:
        """Start and end a job with a gate and a hook: the error must not prevent that."""
        new = {"profile": "p0", "request_id": f"s{next(self._ids)}"}
        job_id = self.call("StartJob", JOB | new)["job_id"]
        self.call("EndJob", END | {"job_id": job_id, "wait": True, "request_id": f"e{job_id}"})

    def _late(self) -> None:
        """Start two jobs whose gate runs out of time; the gate of the second one never starts."""
        with contextlib.ExitStack() as stack:
            subscriber, *wires = (
                stack.enter_context(Wire(self.socket, PATIENCE_SEC)) for _ in range(3)
            )
            try:
                subscriber.send("io.hookd.Manager.Subscribe", more=True)
                for wire in wires:
                    new = {"profile": "late", "request_id": f"l{next(self._ids)}"}
                    wire.send("StartJob", JOB | new)
                replies = [wire.receive() for wire in wires]
                told = subscriber.receive()
            except OSError as e:
                replies, told = [{"error": str(e)}], {}
            self.hurt += sum("job_id" not in reply.get("parameters", {}) for reply in replies)
            self.hurt += "parameters" not in told

    def _idle(self) -> bool:
        status = self.call("io.hookd.Manager.GetStatus")["status"]
        return bool(status["running"] + status["waiting"] == 0 and status["healthy"])

    def odd_runs(self, since: int) -> list[dict[str, Any]]:
        """Return the runs of jobs after this one that did not end as expected."""
        jobs = self.call("io.hookd.Manager.ListJobs", {"limit": 100})["jobs"]
        runs = [run for job in jobs if job["job_id"] > since for run in job["hooks"]]
        return [
            run
            for run in runs
            if run["state"] != "ended"
            or (run["result"] != "success" and (run["hook"], run["attempt"]) not in EXPECTED)
        ]

    def newest(self) -> int:
        """Return the highest job ID."""
        jobs = self.call("io.hookd.Manager.ListJobs", {"limit": 1})["jobs"]
        return int(jobs[0]["job_id"]) if jobs else 0

    def reached(self) -> set[str]:
        """Return the points that were reached since the start."""
        path = Path(f"{self.directory / 'control'}.reached")
        return set(path.read_text().splitlines())

    def started_twice(self) -> list[str]:
        """Return what was started twice, as its hook noted."""
        noted = Counter(self.side.read_text().splitlines())
        return [line for line, times in noted.items() if times > 1 and " 0 " not in f" {line}"]

    def said(self) -> str:
        """Return the end of what both wrote to standard error."""
        logs = [Path(self.directory / f"{name}.log") for name in self._processes]
        return "\n".join(log.read_text()[-2000:] for log in logs)
