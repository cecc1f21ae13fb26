# SPDX-License-Identifier: LGPL-2.1-or-later
"""No run changes what another one inherits, though its hook may change its launcher."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from hookd.model import Result
from hookd.runner.launch import abi
from tests.support.eventually import eventually
from tests.support.runner import PYTHON, Runner

TREE = Path(__file__).parents[2]
AS_ROOT = os.geteuid() == 0
OTHER = "daemon" if AS_ROOT else None  # Debian's base system has this account

SHOWS = f"""#!{PYTHON}
import ctypes, os, resource, time
libc = ctypes.CDLL(None)
print([resource.getrlimit(kind) for kind in range(16)], end=" ")
print(os.getpriority(os.PRIO_PROCESS, 0), os.sched_getscheduler(0), end=" ")
print(sorted(os.sched_getaffinity(0)), libc.syscall(252, 1, 0), end=" ")  # ioprio_get
print(libc.prctl(30, 0, 0, 0, 0), libc.syscall(250, 0, -3, 0), end=" ")  # slack, keyring
for name in ("oom_score_adj", "coredump_filter", "cgroup"):
    print(open("/proc/self/" + name).read().split()[-1], end=" ")
print(os.getcwd(), oct(os.umask(0)), sorted(os.environ))
"""
"""What a run inherits, in one line; numbers of system calls are those of x86-64."""

CHANGES = {
    "open files": "resource.prlimit(victim, resource.RLIMIT_NOFILE, (8, 8))",
    "processes": "resource.prlimit(victim, resource.RLIMIT_NPROC, (50, 50))",
    "no files at all": "resource.prlimit(victim, resource.RLIMIT_NOFILE, (3, 3))",
    "stack": "resource.prlimit(victim, resource.RLIMIT_STACK, (1 << 20, 1 << 20))",
    "core": "resource.prlimit(victim, resource.RLIMIT_CORE, (0, 7))",
    "CPU time": "resource.prlimit(victim, resource.RLIMIT_CPU, (99, 99))",
    "niceness": "os.setpriority(os.PRIO_PROCESS, victim, 19)",
    "affinity": "os.sched_setaffinity(victim, [max(os.sched_getaffinity(0))])",
    "policy": "os.sched_setscheduler(victim, os.SCHED_BATCH, os.sched_param(0))",
    "I/O class": "libc.syscall(251, 1, victim, 3 << 13)",
}
"""What a hook of the same user can do to its launcher: `victim`."""

CHANGES_BY_ROOT = {
    # Anybody may, whose launcher's keyring is not root's: where the runner is not root.
    "session keyring": "libc.syscall(250, 1, None); libc.syscall(250, 18)",
    "out of memory": "open(f'/proc/{victim}/oom_score_adj', 'w').write('77')",
    "core dumps": "open(f'/proc/{victim}/coredump_filter', 'w').write('0x7f')",
    "timer slack": "open(f'/proc/{victim}/timerslack_ns', 'w').write('12345')",
}


@pytest.fixture
def runner(scratch: Path) -> Iterator[Runner]:
    """Return a runner whose hooks are another user's, where there is one."""
    with Runner(scratch, hook_user=OTHER) as runner:
        yield runner


def define(runner: Runner, change: str = "", user: str = "") -> None:
    """Make the hooks: one that changes its launcher, one that shows what it has inherited."""
    text = f"#!{PYTHON}\nimport ctypes, os, resource\nlibc = ctypes.CDLL(None)\n"
    harm = runner.script("harm", f"{text}victim = os.getppid()\n{change}\n")
    shows = runner.script("shows", SHOWS)
    tables = f'[run]\nuser = "{user}"\n' if user and AS_ROOT else ""
    for name, program in (("harm", harm), ("shows", shows)):
        runner.hook(name, f'command = "{program}"\n{tables}')
    loaded = runner.reload()
    assert not loaded.errors, loaded.errors


def shown(runner: Runner) -> str:
    """Return what a run inherits now."""
    receipt = runner.run("shows")
    assert receipt.result is Result.SUCCESS and receipt.last_line is not None, receipt
    return receipt.last_line


def check(runner: Runner, change: str, user: str = "") -> None:
    """See that a change by one run is not there for the next one, which has another launcher."""
    define(runner, change, user)
    before = shown(runner)
    [launcher] = runner.launchers()
    assert runner.run("harm").result is Result.SUCCESS, runner.said()
    assert shown(runner) == before
    eventually(lambda: not launcher.is_running())


@pytest.mark.parametrize("kind", CHANGES)
def test_what_a_hook_does_to_its_launcher_does_not_reach_the_next_run(
    runner: Runner, kind: str
) -> None:
    if kind == "affinity" and len(os.sched_getaffinity(0)) == 1:
        pytest.skip("one CPU: there is no other affinity")
    check(runner, CHANGES[kind])


@pytest.mark.skipif(not AS_ROOT, reason="only root's hooks may do that")
@pytest.mark.parametrize("kind", CHANGES_BY_ROOT)
def test_nor_does_what_a_hook_of_root_does(runner: Runner, kind: str) -> None:
    check(runner, CHANGES_BY_ROOT[kind], user="root")


def test_a_launcher_that_waits_is_looked_at_too(runner: Runner) -> None:
    """A hook may change all launchers of its user, those of its neighbours too."""
    victims = "map(int, os.environ['HOOKD_USER'].split())"
    change = "resource.prlimit(victim, resource.RLIMIT_NOFILE, (7, 7))"
    define(runner, f"for victim in {victims}:\n  try: {change}\n  except OSError: pass")
    before = shown(runner)
    begun = [runner.begin("shows") for _ in range(4)]
    for run_id in begun:
        assert runner.until_ended(run_id).last_line == before
    waiting = " ".join(str(launcher.pid) for launcher in runner.launchers())
    assert runner.run("harm", user=waiting).result is Result.SUCCESS
    for _ in range(5):
        assert shown(runner) == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_a_launcher_that_was_ended_or_stopped_while_it_waited_is_replaced(
    runner: Runner, number: signal.Signals
) -> None:
    define(runner)
    before = shown(runner)
    for _ in range(5):
        [waits] = runner.launchers()
        waits.send_signal(number)
        assert shown(runner) == before


def test_a_launcher_that_is_stopped_where_nobody_sees_it_is_replaced_in_time(
    runner: Runner,
) -> None:
    """The zygote, which would have seen it, is gone: the watch, or the time limit, ends it."""
    runner.hook("hook", 'command = "/bin/true"\n[limits]\ntimeout = "300ms"\n')
    runner.reload()
    assert runner.run("hook").result is Result.SUCCESS
    [waits] = runner.launchers()
    (zygote,) = psutil.Process(runner.process.pid).children()
    zygote.kill()
    eventually(lambda: waits.ppid() == runner.process.pid)
    waits.send_signal(signal.SIGSTOP)
    assert runner.run("hook").result is Result.SUCCESS


def test_no_signal_but_two_reaches_a_launcher(runner: Runner) -> None:
    every = "[os.kill(victim, n) for n in range(1, 65) if n not in (9, 19)]"
    define(runner, every)
    before = shown(runner)
    launchers = runner.launchers()
    assert runner.run("harm").result is Result.SUCCESS
    assert shown(runner) == before
    assert runner.launchers() == launchers


def test_the_cpu_time_of_a_launcher_is_not_a_runs(runner: Runner) -> None:
    used = "sum(map(int, open(f'/proc/{victim}/stat').read().rpartition(')')[2].split()[11:13]))"
    define(runner, f"while {used} < 60: [os.kill(victim, 17) for _ in range(100)]")  # of 10 ms
    tables = '[limits]\ncpu_time = "4s"\n'
    runner.hook("harm", f'command = "{runner.directory}/harm"\n{tables}')
    runner.hook("shows", f'command = "{runner.directory}/shows"\n{tables}')
    runner.reload()
    assert runner.run("harm").result is Result.SUCCESS
    [launcher] = runner.launchers()
    assert launcher.cpu_times().user + launcher.cpu_times().system > 0.5
    shown(runner)
    eventually(lambda: not launcher.is_running())


def test_a_run_begins_with_default_signals_and_three_descriptors(scratch: Path) -> None:
    """Whatever the runner was started with; nohup(1) and shells have some signals ignored."""
    script = "cat /proc/self/status | grep -E 'Sig(Blk|Ign|Cgt)' | cut -f2; ls /proc/self/fd"
    ignored = [n for n in range(1, 65) if n not in (9, 19, 32, 33)]
    before = {n: signal.getsignal(n) for n in ignored if n != signal.SIGCHLD}
    try:
        for number in before:
            signal.signal(number, signal.SIG_IGN)
        with Runner(scratch, hook_user=OTHER) as runner:
            runner.define(f"echo $({script})")
            said = runner.run("hook").last_line
    finally:
        for number, handler in before.items():
            signal.signal(number, handler or signal.SIG_DFL)
    zeros = "0" * 16
    assert said == f"{zeros} {zeros} {zeros} 0 1 2 3"  # 3: the directory that ls(1) reads


def test_between_runs_a_launcher_holds_nothing_of_them(runner: Runner) -> None:
    program = runner.script("waits", "cat\n")
    where = runner.directory / "where"
    where.mkdir()
    where.chmod(0o777)
    tables = f'[run]\nworking_directory = "{where}"\numask = "0027"\n'
    runner.hook("hook", f'command = "{program}"\n{tables}')
    runner.reload()
    for _ in range(2):
        assert runner.run("hook").result is Result.SUCCESS
    [launcher] = runner.launchers()
    if AS_ROOT:  # it shows them to nobody else
        assert launcher.cwd() == "/"
        assert sorted(os.listdir(f"/proc/{launcher.pid}/fd")) == ["0", "1", "2"]
        assert launcher.environ() == {}


def test_a_reload_ends_launchers_that_wait(runner: Runner) -> None:
    """So that a user whose last hook is gone can be deleted at once."""
    runner.define("read _ <fifo", f'[run]\nworking_directory = "{runner.directory}"\n')
    os.mkfifo(runner.directory / "fifo")
    (runner.directory / "fifo").chmod(0o666)
    run_id = runner.begin("hook")
    runner.until_started(run_id)
    runner.reload()
    (runner.directory / "fifo").write_text("go on\n")
    assert runner.until_ended(run_id).result is Result.SUCCESS
    eventually(lambda: runner.launchers() == [])


def test_any_number_of_words(runner: Runner) -> None:
    program = runner.script(
        "args", f"#!{PYTHON}\nimport sys\nprint(len(sys.argv), sys.argv[-1])\n"
    )
    for many, length in ((10, 1), (1022, 1), (1100, 1), (30_000, 30)):
        words = " ".join(f"{n:0{length}}" for n in range(many))
        runner.hook("args", f'command = "{program} {words}"\n')
        runner.reload()
        receipt = runner.run("args")
        assert receipt.last_line == f"{many + 1} {many - 1:0{length}}", receipt


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (None, "is missing: packaging/setup compiles it in a source tree"),
        (b"\x7fELF" + bytes(60), f"is no program for this machine ({os.uname().machine})"),
    ],
)
def test_without_its_program_the_runner_says_so(
    scratch: Path, broken: bytes | None, said: str
) -> None:
    shutil.copytree(TREE / "hookd", scratch / "hookd")
    program = scratch / "hookd" / abi.PROGRAM.relative_to(TREE / "hookd")
    program.unlink()
    if broken is not None:
        program.write_bytes(broken)
        program.chmod(0o755)
    (scratch / "hookd.toml").touch()
    ended = subprocess.run(
        [sys.executable, "-m", "hookd.runner.main", "--socket", "s", "--config", "hookd.toml"],
        cwd=scratch,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert (ended.returncode, ended.stderr) == (72, f"hookd-runner: {program} {said}\n")


def test_of_another_version_it_serves_nobody() -> None:
    ended = subprocess.run([abi.PROGRAM, "0"], stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert ended.returncode == 1
    assert b"it is of another version than its runner" in ended.stderr
