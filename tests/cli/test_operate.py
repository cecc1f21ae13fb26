# SPDX-License-Identifier: LGPL-2.1-or-later
"""What an operator does about hooks: watch, why, cancel, resume."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import termios

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from hookd.cli.watch import Board
from hookd.manager_api import Notice, SubscribeReply
from hookd.model import HookRun, Result, RunState
from tests.cli.hookctl import HOOKCTL, hookctl
from tests.support.daemon import Daemon
from tests.support.eventually import eventually

WHO = ("--profile", "[bold]Mail", "--user", "ann@example.com", "--client-ip", "10.0.0.7")

NO_DRAIN = '[daemon]\ndrain = "1ms"\n'  # a stop does not wait for what hangs

LIMITS = """
[limits]
timeout = "1min"
kill_grace = "2s"
cpu_time = "5min"
memory = "512M"
processes = 64
open_files = 99
file_size = "1536M"
output = "10K"
nice = 10
io_class = "idle"
cpu_affinity = [0]
cpu_weight = 50
"""


def with_a_hook_that_hangs(daemon: Daemon) -> Daemon:
    """Start a daemon with one job: a hook of it hangs, one has run, one does not match."""
    (daemon.directory / "hookd.toml").write_text(NO_DRAIN)
    daemon.hook(
        "hangs", 'command = "/bin/sleep 1000"\nphases = ["start"]\n[limits]\ntimeout = "15min"\n'
    )
    daemon.hook("quick", 'command = "/bin/true"\n')
    daemon.hook("other", 'command = "/bin/true"\n[match]\nprofile = ["Photos"]\n' + LIMITS)
    daemon.start()
    hookctl("--socket", daemon.socket, "start", *WHO)
    with daemon.client() as hookd:
        eventually(
            lambda: {run.state.value for run in hookd.get_job(1).hooks} == {"running", "ended"}
        )
    return daemon


@pytest.fixture
def stuck(daemon: Daemon) -> Daemon:
    """Return one that is the test's own."""
    return with_a_hook_that_hangs(daemon)


@pytest.fixture(scope="module")
def still_stuck(shared: Daemon) -> Daemon:
    """Return one for tests that only look."""
    return with_a_hook_that_hangs(shared)


def test_why_names_the_rule(still_stuck: Daemon) -> None:
    done = hookctl("--socket", still_stuck.socket, "why", "1")
    assert (done.returncode, done.stderr) == (0, "")
    heading, *rows = (re.split(r"  +", line) for line in done.stdout.splitlines())
    assert heading == ["HOOK", "PHASE", "MATCHED", "RULE", "REASON", "LIMITS"]
    start = {row[0]: row[2:4] for row in rows if row[1] == "start"}
    assert start["hangs"][0] == start["quick"][0] == "yes"
    usual = "kill_grace 10s, output 1M"
    assert {row[0]: row[5] for row in rows} == {
        "hangs": f"timeout 15min, {usual}",
        "quick": f"timeout 10min, {usual}",
        "other": "timeout 1min, kill_grace 2s, cpu_time 5min, memory 512M, processes 64,"
        " open_files 99, file_size 1.5G, output 10K, nice 10, io_class idle, cpu_affinity 0,"
        " cpu_weight 50",
    }
    assert start["other"] == ["no", "match.profile"]
    found = json.loads(hookctl("--socket", still_stuck.socket, "--json", "why", "1").stdout)
    assert {one["hook"] for one in found} == {"hangs", "quick", "other"}
    assert hookctl("--socket", still_stuck.socket, "why", "99").returncode == 1


def test_cancel_ends_what_hangs_by_job_or_by_run(stuck: Daemon) -> None:
    with stuck.client() as hookd:

        def hanging() -> list[HookRun]:
            runs = [run for n in (1, 2) for run in hookd.get_job(n).hooks]
            return [run for run in runs if run.hook == "hangs"]

        hookd.start_job(profile="Mail", user="", client_ip="::1")
        eventually(lambda: [run.state for run in hanging()] == [RunState.RUNNING] * 2)
        first, second = (str(run.run_id) for run in hanging())
        for run_id, named in ((first, ["1"]), (second, ["--run", second])):
            done = hookctl("--socket", stuck.socket, "cancel", *named)
            assert (done.returncode, done.stdout) == (0, f"cancelled: run {run_id}\n")
        eventually(lambda: [run.state for run in hanging()] == [RunState.ENDED] * 2)
        assert [run.result for run in hanging()] == [Result.CANCELLED] * 2
        assert {run.reason for run in hanging()} == {f"requested by uid {os.geteuid()}"}
    again = hookctl("--socket", stuck.socket, "cancel", "1")
    assert (again.returncode, again.stdout) == (0, "no run is waiting or running\n")
    as_json = hookctl("--socket", stuck.socket, "--json", "cancel", "1")
    assert json.loads(as_json.stdout) == {"runs": []}
    assert hookctl("--socket", stuck.socket, "cancel").returncode == 2
    unknown = hookctl("--socket", stuck.socket, "cancel", "--run", "999")
    assert unknown.returncode == 1
    assert "run 999 is neither waiting nor running" in unknown.stderr


def test_resume_of_no_hook_is_refused(still_stuck: Daemon) -> None:
    done = hookctl("--socket", still_stuck.socket, "resume", "nothing")
    assert done.returncode == 1
    assert done.stderr == "hookctl: no hook 'nothing' (hookctl hooks lists the known ones)\n"
    assert hookctl("--socket", still_stuck.socket, "resume", "quick").returncode == 0
    as_json = hookctl("--socket", still_stuck.socket, "--json", "resume", "quick")
    assert (as_json.returncode, json.loads(as_json.stdout)) == (0, {})


class Watch:
    """hookctl watch on a terminal of its own."""

    def __init__(self, daemon: Daemon) -> None:
        self._ours, self.terminal = pty.openpty()
        self.before = termios.tcgetattr(self.terminal)
        self.screen = b""
        command = [HOOKCTL, "--socket", str(daemon.socket), "watch", "--interval", "0.1"]
        environment = os.environ | {"TERM": "xterm-256color", "COLUMNS": "120", "LINES": "40"}
        self.process = subprocess.Popen(
            command, stdin=self.terminal, stdout=self.terminal, env=environment
        )

    def until(self, pattern: str) -> str:
        """Read on until what was drawn by then matches; return it without its marks."""
        while True:
            self.screen += os.read(self._ours, 65536)
            bare = re.sub(rb"\x1b\[[0-9;?]*[a-zA-Z]", b"", self.screen)
            if re.search(pattern, bare.decode(errors="replace")):
                return bare.decode(errors="replace")

    def end(self, number: signal.Signals = signal.SIGINT) -> None:
        """End it by a signal."""
        self.process.send_signal(number)
        while b"\x1b[?1049l" not in self.screen:
            self.screen += os.read(self._ours, 65536)
        assert self.process.wait(30) == 0

    def close(self) -> None:
        """Give the terminal up."""
        os.close(self.terminal)
        os.close(self._ours)


def test_watch_shows_once_what_a_notice_and_the_list_both_tell(still_stuck: Daemon) -> None:
    with still_stuck.client() as client:
        board = Board(client)
        board.take(SubscribeReply(notices=[], missed=True))
        shown = list(board.gone)
        assert shown
        told = [
            Notice(seq=1, usec=1, job_id=job_id, phase=run.phase, run=run) for job_id, run in shown
        ]
        board.take(SubscribeReply(notices=told, missed=False))
        assert list(board.gone) == shown


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_watch_shows_what_runs_and_leaves_the_terminal_as_it_was(
    still_stuck: Daemon, number: signal.Signals
) -> None:
    watch = Watch(still_stuck)
    bare = watch.until(r"(?s)(hangs.*){3}")
    watch.end(number)
    assert termios.tcgetattr(watch.terminal) == watch.before
    watch.close()
    assert re.search(r"hangs +start +1 +\[bold\]Mail .* 15min", bare)
    assert re.search(r"quick +start +1 +\[bold\]Mail +\S+ +success", bare)
    assert "running 1 of 64" in bare
    screen = watch.screen
    assert screen.rindex(b"\x1b[?25h") > screen.index(b"\x1b[?25l"), "the cursor is shown again"


def test_jobs_that_have_unfinished_hooks(stuck: Daemon) -> None:
    at = ("--socket", stuck.socket)
    hookctl(*at, "start", "--profile", "Mail", "--client-ip", "::1")
    hookctl(*at, "end", "1")
    hookctl(*at, "cancel", "2")
    with stuck.client() as hookd:
        eventually(lambda: all(run.result for run in hookd.get_job(2).hooks))
    lines = hookctl(*at, "jobs", "--unfinished").stdout.splitlines()[1:]
    assert [line.split()[0] for line in lines] == ["1"]


def test_watch_goes_on_when_hookd_starts_anew(stuck: Daemon) -> None:
    watch = Watch(stuck)
    watch.until(r"hangs +start +1 ")
    assert stuck.stop() == 0
    stuck.start()
    hookctl("--socket", stuck.socket, "start", *WHO)
    bare = watch.until(r"hangs +start +2 ")
    watch.end()
    watch.close()
    assert re.search(r"hangs +start +1 +\[bold\]Mail +\S+ +interrupted", bare)


def test_watch_knows_what_runs_however_many_jobs_came_since(daemon: Daemon) -> None:
    hook = 'command = "/bin/sleep 60"\nphases = ["start"]\n[run]\nmax_running = 1\n'
    (daemon.directory / "hookd.toml").write_text(NO_DRAIN)
    daemon.hook("hangs", hook + '[match]\nprofile = ["Old"]\n')
    daemon.start()
    with daemon.client() as hookd:
        for profile in ("Old", "Old", *["New"] * 1200):
            hookd.start_job(profile=profile, user="", client_ip="::1")
    watch = Watch(daemon)
    bare = watch.until(r"hangs +start +1 +Old")
    watch.end()
    watch.close()
    assert "open jobs 1202" in bare
    assert re.search(r"waiting: hangs 1\b", bare)


def test_watch_that_is_ended_at_its_first_picture_puts_the_screen_back(
    still_stuck: Daemon,
) -> None:
    watch = Watch(still_stuck)
    watch.until("")  # the first that comes is the switch to the other screen
    watch.end()
    watch.close()


def test_watch_wants_a_terminal(still_stuck: Daemon) -> None:
    done = hookctl("--socket", still_stuck.socket, "watch")
    assert (done.returncode, done.stdout) == (1, "")
    assert "watch draws on a terminal" in done.stderr


def test_replay_runs_the_hooks_again(daemon: Daemon) -> None:
    count = daemon.script(
        "count", f'echo "$HOOKD_PHASE $HOOKD_ATTEMPT" >>{daemon.directory}/runs\n'
    )
    daemon.hook("count", f'command = "{count}"\n')
    daemon.start()
    at = ("--socket", daemon.socket)
    hookctl(*at, "start", *WHO, "--wait")
    hookctl(*at, "end", "1", "--wait")
    done = hookctl(*at, "replay", "1")
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.split() for line in done.stdout.splitlines()]
    assert rows[0] == ["RUN", "HOOK", "PHASE", "ATTEMPT"]
    assert [row[1:] for row in rows[1:]] == [["count", "start", "2"], ["count", "end", "2"]]
    ran = ["start 1", "end 1", "start 2", "end 2"]
    eventually(lambda: sorted((daemon.directory / "runs").read_text().splitlines()) == sorted(ran))
    assert hookctl(*at, "replay", "99").returncode == 1
    told = json.loads(hookctl(*at, "--json", "replay", "1").stdout)
    assert [run["attempt"] for run in told["hooks"]] == [3, 3]


def test_metrics_are_openmetrics(still_stuck: Daemon) -> None:
    done = hookctl("--socket", still_stuck.socket, "metrics")
    assert (done.returncode, done.stderr) == (0, "")
    parsed = text_string_to_metric_families(done.stdout)  # type: ignore[no-untyped-call]
    families = {family.name: family for family in parsed}
    assert families["hookd_runs_running"].samples[0].value == 1
    assert families["hookd_jobs_started"].samples[0].value == 1
    (run,) = families["hookd_runs"].samples
    assert run.labels == {"hook": "quick", "phase": "start", "result": "success"}
    assert done.stdout.endswith("# EOF\n")


def test_metrics_for_a_textfile_are_in_the_older_format(still_stuck: Daemon) -> None:
    done = hookctl("--socket", still_stuck.socket, "metrics", "--textfile")
    assert (done.returncode, done.stderr) == (0, "")
    assert "# TYPE hookd_jobs_started_total counter\nhookd_jobs_started_total 1.0\n" in done.stdout
    kinds = {line.split()[3] for line in done.stdout.splitlines() if line.startswith("# TYPE")}
    assert kinds <= {"counter", "gauge", "histogram", "summary", "untyped"}
    assert "# EOF" not in done.stdout
