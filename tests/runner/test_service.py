# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner's own life: ready, reload, stop, death."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest

from hookd.link import Start
from hookd.model import Result
from hookd.runner import undelivered
from hookd.runner.runner import unstarted
from hookd.system.sockets import bind
from tests.support.eventually import eventually
from tests.support.leftovers import alive
from tests.support.runner import Runner, event

WAITS = "trap 'exit 7' TERM; echo $$ >{pid}; while :; do sleep 0.01; done\n"


@pytest.fixture
def waiting(runner: Runner) -> Runner:
    """Return a runner in which the run 1 waits for TERM."""
    program = runner.script("hook", WAITS.format(pid=runner.directory / "pid"))
    runner.hook("hook", f'command = "{program}"\n')
    runner.hook("quick", 'command = "/bin/true"\n')
    runner.reload()
    runner.begin("hook")
    eventually(lambda: (runner.directory / "pid").exists() and main(runner).is_running())
    return runner


def main(runner: Runner) -> psutil.Process:
    """Return the main process of the run that waits."""
    return psutil.Process(int((runner.directory / "pid").read_text() or "0"))


def test_the_end_of_its_server_ends_a_childs_runs(waiting: Runner) -> None:
    hook = main(waiting)
    waiting.leave()
    assert waiting.process.wait(20) == 0
    assert not alive(hook.pid)


def test_a_runner_that_is_killed_leaves_no_process(waiting: Runner) -> None:
    hook = main(waiting)
    below = psutil.Process(waiting.process.pid).children(recursive=True)
    assert hook in below
    waiting.process.kill()
    waiting.process.wait()
    eventually(lambda: not any(alive(process.pid) for process in below))


def test_a_stop_waits_for_hooks_then_ends_them_and_says_so(waiting: Runner) -> None:
    (waiting.directory / "hookd.toml").write_text('[daemon]\ndrain = "300ms"\n')
    waiting.reload()
    waiting.terminate()
    receipt = waiting.until_ended(1)
    assert (receipt.result, receipt.exit_status) == (Result.INTERRUPTED, 7)
    assert receipt.reason == "the runner was stopped"
    assert receipt.duration_usec >= 300_000
    assert waiting.process.wait(20) == 0


def test_nothing_starts_while_it_stops(waiting: Runner) -> None:
    waiting.terminate()
    run_id = 50
    waiting.send(Start(run_id, "quick", 1, event()))
    first = waiting.until_ended(run_id)
    if first.result is Result.SUCCESS:  # it was quicker than the signal
        waiting.send(Start(run_id + 1, "quick", 1, event()))
        first = waiting.until_ended(run_id + 1)
    assert (first.result, first.started_usec) == (Result.INTERRUPTED, None)
    main(waiting).terminate()
    assert waiting.until_ended(1).exit_status == 7
    assert waiting.process.wait(20) == 0


def test_a_signal_reloads(runner: Runner) -> None:
    runner.hook("hook", 'command = "/bin/true"\n')
    runner.process.send_signal(signal.SIGHUP)
    eventually(lambda: runner.run("hook").result is Result.SUCCESS)


@pytest.mark.parametrize(
    ("text", "status", "said"),
    [
        ('command = "/bin/true"\n', 0, "1 hooks, no errors"),
        ('comand = "/bin/true"\n', 78, "comand: found an unknown key (did you mean command?)"),
        ('command = "/no"\n', 78, "command: found /no does not exist"),
    ],
)
def test_check(scratch: Path, text: str, status: int, said: str) -> None:
    runner = Runner(scratch)
    runner.hook("hook", text)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "hookd.runner.main", "--check"),
            *("--default-user", runner.hook_user, "--config", str(scratch / "hookd.toml")),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    assert said in done.stdout + done.stderr


AS_SYSTEMD = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_FDS": "1", "LISTEN_PID": str(os.getpid())}
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("text", ['comand = "/bin/true"\n', "writable by everybody"])
def test_errors_in_the_text_stop_a_start(scratch: Path, text: str) -> None:
    runner = Runner(scratch)
    path = runner.hook("hook", text)
    if "writable" in text:
        path.write_text('command = "/bin/true"\n')
        path.chmod(0o666)
    listener = bind(scratch / "runner.sock", 0o600)
    serve = [sys.executable, "-m", "hookd.runner.main", "--config", str(scratch / "hookd.toml")]
    with listener, socket.socket(socket.AF_UNIX) as client:
        # What waits in the service manager's socket would start the runner again at once.
        client.connect(str(scratch / "runner.sock"))
        client.settimeout(20)
        done = subprocess.run(
            [sys.executable, "-c", AS_SYSTEMD, str(listener.fileno()), *serve],
            pass_fds=[listener.fileno()],
            stderr=subprocess.PIPE,
            timeout=20,
        )
        assert done.returncode == 78
        assert client.recv(1) == b""


def test_a_start_that_the_text_stops_loses_no_result(
    scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(scratch))
    undelivered.save(scratch / "untaken", {9: unstarted(Result.CANCELLED, "of before")})
    runner = Runner(scratch)
    runner.hook("hook", 'comand = "/bin/true"\n')
    runner.start("--socket", str(scratch / "runner.sock"))
    assert runner.process.wait(20) == 78
    assert list(undelivered.load(scratch / "untaken")) == [9]


@pytest.fixture
def notified(scratch: Path) -> Iterator[socket.socket]:
    """Return the service manager's end of sd_notify(3)."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(scratch / "notify"))
        sock.settimeout(20)
        yield sock


def test_the_service_manager_hears_of_it(
    scratch: Path, notified: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(scratch / "notify"))
    monkeypatch.setenv("WATCHDOG_USEC", "300000")
    with Runner(scratch) as runner:
        assert notified.recv(4096) == b"READY=1\nSTATUS=0 hooks run, 0 configured"
        assert notified.recv(4096).startswith(b"WATCHDOG=1\n")
        assert notified.recv(4096).startswith(b"WATCHDOG=1\n")
        runner.process.send_signal(signal.SIGHUP)
        while b"RELOADING=1\nMONOTONIC_USEC=" not in notified.recv(4096):
            pass
        runner.terminate()
        while b"STOPPING=1" not in notified.recv(4096):
            pass


def test_a_dead_runners_socket_is_replaced_and_a_live_ones_not(scratch: Path) -> None:
    path = scratch / "runner.sock"
    first = bind(path, 0o600)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(OSError, match="another program answers there"):
        bind(path, 0o600)
    first.close()
    bind(path, 0o600).close()


def test_a_socket_is_bound_where_nobody_else_can_put_one_in_its_place(scratch: Path) -> None:
    path = scratch / "runner.sock"
    scratch.chmod(0o777)
    with pytest.raises(OSError, match=r"its directory: .* is writable by everybody"):
        bind(path, 0o600)
    scratch.chmod(0o1777)
    bind(path, 0o600).close()


@pytest.mark.parametrize(
    "make", [Path.touch, Path.mkdir, lambda path: path.symlink_to("elsewhere")]
)
def test_only_a_socket_is_replaced(scratch: Path, make: Callable[[Path], None]) -> None:
    path = scratch / "runner.sock"
    make(path)
    with pytest.raises(OSError, match="something else than a socket is there"):
        bind(path, 0o600)
    assert path.is_symlink() or path.exists()


def test_it_is_out_of_reach_of_its_own_user(scratch: Path) -> None:
    with Runner(scratch, "nobody" if os.geteuid() == 0 else None) as runner:
        (zygote,) = psutil.Process(runner.process.pid).children()
        for pid in (runner.process.pid, zygote.pid):  # dumpable ones are their user's: proc(5)
            entry = Path(f"/proc/{pid}/mem")
            eventually(partial(belongs_to_root, entry))


def belongs_to_root(path: Path) -> bool:
    """Return whether a file is root's, whoever that appears to be in a user namespace."""
    return path.stat().st_uid == os.stat("/").st_uid


def test_a_zygote_that_dies_is_replaced(runner: Runner) -> None:
    runner.hook("hook", 'command = "/bin/true"\n')
    runner.hook("other", 'command = "/bin/true"\n[limits]\nopen_files = 99\n')
    runner.reload()
    assert runner.run("hook").result is Result.SUCCESS
    (zygote,) = psutil.Process(runner.process.pid).children()
    zygote.kill()
    eventually(lambda: not zygote.is_running())
    assert runner.run("hook").result is Result.SUCCESS
    assert runner.run("other").result is Result.SUCCESS


def test_a_zygote_that_dies_while_it_is_asked_is_replaced(runner: Runner) -> None:
    runner.hook("hook", 'command = "/bin/true"\n')
    runner.reload()
    (zygote,) = psutil.Process(runner.process.pid).children()
    zygote.suspend()
    run_id = runner.begin("hook")
    for _ in range(2):  # what is read at once is begun together; by the second answer it has asked
        runner.reload()
    zygote.kill()
    assert runner.until_ended(run_id).result is Result.SUCCESS


def test_a_zygote_that_does_not_answer_is_replaced(runner: Runner) -> None:
    runner.hook("hook", 'command = "/bin/true"\n')
    runner.reload()
    (zygote,) = psutil.Process(runner.process.pid).children()
    zygote.suspend()
    assert runner.run("hook").result is Result.SUCCESS


@pytest.mark.skipif(os.geteuid() != 0, reason="only a runner of root's has hooks of root's")
def test_one_note_names_the_hooks_that_are_root_and_need_not_be(runner: Runner) -> None:
    for name in ("a", "b"):
        runner.hook(name, 'command = "/bin/true"\n')
    runner.hook("chosen", 'command = "/bin/true"\n[run]\nuser = "root"\n')
    runner.hook("other", 'command = "/bin/true"\n[run]\nuser = "daemon"\n')
    (note,) = (note for note in runner.reload().notes if "root" in note)
    assert note == (
        "hooks run as root because run.user is not set, and may change anything on this system: "
        "a, b"
    )


def test_a_zygote_that_was_changed_is_replaced(runner: Runner) -> None:
    """By a hook of the runner's own user: its launchers would inherit it."""
    runner.define("nice")
    before = runner.run("hook").last_line
    runner.reload()  # which ends the launcher that waits
    (zygote,) = psutil.Process(runner.process.pid).children()
    zygote.nice(19)
    assert runner.run("hook").last_line == before
    assert not zygote.is_running()
