# SPDX-License-Identifier: LGPL-2.1-or-later
"""A server and a runner that can be killed at any step, and are started again."""

from __future__ import annotations

import os
import pwd
import random
import sqlite3
import subprocess
import sys

import psutil

from tests.crash import faultpoint
from tests.support.daemon import STOPPED_WITHIN, Daemon
from tests.support.eventually import eventually
from tests.support.wire import Wire

HOOKS = {
    "quick": "",
    "slow": '[run]\non_crash = "rerun"\n',
    "fails": '[retry]\nattempts = 2\nbackoff = "100ms"\n',
    "serial": '[run]\noverlap = "serial"\noverlap_key = "client"\n',
}
"""Each hook notes its run in the side file first of all."""

AFTERWARDS = {"quick": "", "slow": "sleep 0.2", "fails": "exit 1", "serial": ""}


class Scene:
    """The two processes, their directory, and what each hook has noted in `side`."""

    def __init__(self, daemon: Daemon) -> None:
        self.directory = daemon.directory
        self.socket = daemon.socket
        self.database = daemon.directory / "state" / "hookd.db"
        self.side = daemon.directory / "side"
        self.side.touch()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self._control = faultpoint.control(self.directory / "control")
        faultpoint.arm(self._control, "", 0)
        note = "$HOOKD_RUN_ID $HOOKD_JOB_ID $HOOKD_PHASE $HOOKD_HOOK $HOOKD_ATTEMPT"
        for name, options in HOOKS.items():
            script = daemon.script(name, f'echo "{note}" >>{self.side}\n{AFTERWARDS[name]}\n')
            phases = '["start"]' if name in ("slow", "fails") else '["start", "end"]'
            daemon.hook(name, f'command = "{script}"\nphases = {phases}\n{options}')

    def close(self) -> None:
        """Let go of the control file."""
        self._control.close()

    def start(self, *programs: str) -> None:
        """Start those of the two that do not run; do not wait for them."""
        runner = self.directory / "runner.sock"
        user = pwd.getpwuid(os.geteuid()).pw_name
        state = self.directory / "state"
        control, config = self.directory / "control", self.directory / "hookd.toml"
        arguments = {
            "runner": f"--socket {runner} --default-user {user}",
            "server": f"--socket {self.socket} --state-dir {state} --runner-socket {runner}",
        }
        for program in programs:
            if program in self.processes and self.processes[program].poll() is None:
                continue
            with (self.directory / f"{program}.log").open("ab") as log:
                self.processes[program] = subprocess.Popen(
                    [
                        *(sys.executable, faultpoint.__file__, str(control), program),
                        *("--config", str(config), *arguments[program].split()),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )

    def kill(self, *programs: str) -> None:
        """Kill them at this very moment."""
        for program in programs:
            self.processes[program].kill()
        for program in programs:
            self.processes[program].wait()

    def kill_at(self, program: str, step: str, chance: random.Random) -> bool:
        """Have one of them die at a step; return whether it came there, else kill it now."""
        faultpoint.arm(self._control, step, chance.randint(1, 20))
        try:
            self.processes[program].wait(2.0)
            return True
        except subprocess.TimeoutExpired:
            self.kill(program)
            return False
        finally:
            faultpoint.arm(self._control, "", 0)

    def settled(self) -> None:
        """Wait until the server has settled its books with the runner that is there."""
        eventually(lambda: self._status().get("runner_connected"), within=30)
        instance = self._status()["runner_instance"]
        query = f"SELECT count(*) FROM runs WHERE state = 'handed' AND runner <> '{instance}'"
        eventually(lambda: self.query(query) == [(0,)], within=30)

    def idle(self) -> None:
        """Wait until nothing runs and nothing waits."""

        def quiet() -> bool:
            status = self._status()
            return bool(status) and status["running"] == status["waiting"] == 0

        eventually(quiet, within=120)

    def clear(self) -> None:
        """Kill what still runs."""
        self.kill(*self.processes)

    def stop(self) -> None:
        """Stop both in order."""
        for program in ("server", "runner"):
            self.processes[program].terminate()
            assert self.processes[program].wait(STOPPED_WITHIN) == 0, self.said(program)

    def query(self, sql: str) -> list[tuple[object, ...]]:
        """Return what the database says."""
        connection = sqlite3.connect(f"file:{self.database}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    def left(self) -> list[str]:
        """Return the processes that have the scene's directory in their command line."""
        mark = str(self.directory)
        found = []
        for process in psutil.process_iter(["cmdline"]):
            command = process.info["cmdline"] or []
            if any(mark in word for word in command) and process.pid != os.getpid():
                found.append(" ".join(command))
        return found

    def said(self, program: str) -> str:
        """Return the end of what a program wrote to standard error."""
        return (self.directory / f"{program}.log").read_text(errors="replace")[-4000:]

    def _status(self) -> dict[str, object]:
        try:
            with Wire(self.socket) as wire:
                return wire.status()
        except OSError:
            return {}
