# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run after another: how it ends, and that it has one end."""

from __future__ import annotations

import json
import os
import re
import time
from typing import Any

import psutil
import pytest

from hookd.link import Settled, Start
from hookd.model import Phase, Result
from tests.support.eventually import eventually
from tests.support.leftovers import alive
from tests.support.runner import PYTHON, Runner, event


@pytest.fixture(scope="module")
def runner(shared_runner: Runner) -> Runner:
    """Return the one runner of this file: each test has it read its hook anew."""
    return shared_runner


ENDS: dict[str, tuple[str, dict[str, Any]]] = {
    "success": ("exit 0", {"result": "success", "exit_status": 0, "reason": None}),
    "skipped": ("exit 75", {"result": "skipped", "exit_status": 75}),
    "failed": ("echo why; exit 3", {"result": "failed", "exit_status": 3, "last_line": "why"}),
    "signalled": ("kill -USR1 $$", {"result": "signalled", "signal": "SIGUSR1"}),
    "real-time": ("kill -37 $$", {"result": "signalled", "signal": "SIGRTMIN+3"}),
}


@pytest.mark.parametrize("name", ENDS)
def test_ends(runner: Runner, name: str) -> None:
    script, expected = ENDS[name]
    runner.define(script)
    before = time.time_ns() // 1000
    receipt = runner.run("hook")
    assert {key: getattr(receipt, key) for key in expected} == expected
    assert receipt.started_usec is not None
    assert before <= receipt.started_usec <= receipt.ended_usec <= time.time_ns() // 1000
    assert receipt.leftovers == receipt.survivors == 0


def test_the_time_of_a_run_is_from_before_its_first_instruction(runner: Runner) -> None:
    runner.define("exit 0")
    for _ in range(20):
        receipt = runner.run("hook")
        assert receipt.cpu_usec is not None
        assert receipt.duration_usec >= receipt.cpu_usec > 0  # it has one thread


def test_standard_input_is_the_event(runner: Runner) -> None:
    runner.define(f"cat >{runner.directory}/in")
    run_id = runner.begin("hook", attempt=2, profile="two words", byte_count=2**63 - 1)
    runner.until_ended(run_id)
    document = json.loads((runner.directory / "in").read_text())
    told = event(profile="two words", byte_count=2**63 - 1)
    assert document.pop("hook") == "hook"
    assert (document.pop("run_id"), document.pop("attempt")) == (run_id, 2)
    assert document["profile"] == "two words"
    assert document["byte_count"] == 2**63 - 1
    assert set(document) == set(told.__struct_fields__)


def test_standard_input_may_be_nothing(runner: Runner) -> None:
    runner.define("cat; readlink /proc/self/fd/0", '[run]\nstdin = "null"')
    assert runner.run("hook").last_line == "/dev/null"


def test_output_can_be_opened_by_its_name(runner: Runner) -> None:
    runner.define("echo out >/dev/stdout; echo err >/dev/stderr; cat /dev/stdin >/dev/null")
    receipt = runner.run("hook")
    assert (receipt.result, receipt.output_bytes) == (Result.SUCCESS, 8)


def test_values_arrive_byte_for_byte(runner: Runner) -> None:
    values = ["$(id)", "; rm -rf", "a\nb", "-rf", "'\"\\", "🎉", "é" * 50_000]
    program = runner.script("args", f"#!{PYTHON}\nimport sys\nprint(ascii(sys.argv[1:]))\n")
    runner.hook("args", f"command = '{program} $PROFILE_NAME \"$USER\" x${{USER}}y'\n")
    runner.reload()
    for value in values:
        receipt = runner.run("args", profile="p", user=value)
        expected = ascii(["p", value, f"x{value}y"])
        assert receipt.output_bytes == len(expected) + 1, value
        if len(expected) < 4000:
            assert receipt.last_line == expected


def test_cancel_ends_a_run(runner: Runner) -> None:
    runner.define("trap 'exit 9' TERM; echo ready; while :; do sleep 0.01; done")
    run_id = runner.begin("hook")
    runner.until_started(run_id)
    runner.cancel(run_id)
    receipt = runner.until_ended(run_id)
    assert receipt.result is Result.CANCELLED
    assert receipt.reason == "the test says so"


def test_cancel_before_the_start(runner: Runner) -> None:
    runner.define("sleep 60")
    run_id = runner.begin("hook")
    runner.cancel(run_id)
    assert runner.until_ended(run_id).result is Result.CANCELLED
    eventually(lambda: not [p for parent in runner.launchers() for p in parent.children()])


def test_a_timeout_leaves_a_grace_and_then_kills(runner: Runner) -> None:
    runner.define(
        "trap '' TERM; while :; do sleep 0.01; done",
        '[limits]\ntimeout = "200ms"\nkill_grace = "200ms"',
    )
    receipt = runner.run("hook")
    assert (receipt.result, receipt.signal) == (Result.TIMEOUT, "SIGKILL")
    assert receipt.reason == "it ran longer than 0.2 s"
    assert 400_000 <= receipt.duration_usec < 3_000_000


def test_leftovers_may_stay(runner: Runner) -> None:
    runner.define(
        f"sleep 60 & echo $! >{runner.directory}/pid",
        '[run]\nleftovers = "warn"\n',
    )
    receipt = runner.run("hook")
    left = psutil.Process(int((runner.directory / "pid").read_text()))
    assert (receipt.leftovers, receipt.survivors) == (1, 0)
    assert left.is_running()
    left.kill()
    eventually(lambda: not alive(left.pid))


def test_a_figure_that_is_not_known_is_none(runner: Runner) -> None:
    runner.define("kill -KILL $PPID; sleep 60")
    receipt = runner.run("hook")
    assert receipt.result is Result.SIGNALLED
    assert (receipt.memory_peak, receipt.cpu_usec) == (None, None)


def test_a_small_program_has_no_figure_of_its_launchers(runner: Runner) -> None:
    runner.hook("small", 'command = "/bin/true"\n')
    runner.reload()
    for _ in range(3):
        peak = runner.run("small").memory_peak
        assert peak is None or peak < 4 << 20


def test_a_limit_that_was_overrun_says_by_how_much(runner: Runner) -> None:
    large = f"{PYTHON} -c 'import time; x = b\"x\" * (100 << 20); time.sleep(60)'"
    runner.define(large, '[limits]\nmemory = "40M"\n')
    receipt = runner.run("hook")
    assert (receipt.result, receipt.limit) == (Result.LIMIT, "memory")
    used = re.fullmatch(r"it used (\d+) MB of memory, 40 MB are allowed", receipt.reason or "")
    assert used
    assert receipt.memory_peak is not None
    assert receipt.memory_peak >> 20 >= int(used[1]) > 40


def test_the_receipt_counts_the_whole_tree(runner: Runner) -> None:
    burn = "sum(i for i in range(3_000_000))"
    runner.define(f"{PYTHON} -c '{burn}' & wait; {PYTHON} -c '{burn}; x = b\"x\" * (40 << 20)'")
    receipt = runner.run("hook")
    assert receipt.result is Result.SUCCESS
    assert receipt.cpu_usec is not None and receipt.memory_peak is not None
    assert receipt.cpu_usec > 100_000
    assert receipt.memory_peak > 40 << 20


def test_a_run_is_started_at_most_once(runner: Runner) -> None:
    runner.define(f"echo x >>{runner.directory}/count; sleep 0.2")
    run_id = 1_000_000  # far from those that are counted
    start = Start(run_id, "hook", 1, event())
    runner.send(start, start)
    runner.until_started(run_id)
    runner.send(start)
    receipt = runner.until_ended(run_id)
    assert receipt.result is Result.SUCCESS
    assert (runner.directory / "count").read_text() == "x\n"


def test_results_are_kept_until_they_are_settled(scratch: Any) -> None:
    import socket

    runner = Runner(scratch)
    runner.hook("hook", 'command = "/bin/false"\n')
    path = scratch / "runner.sock"
    runner.start("--socket", str(path))

    def connect() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX)
        eventually(lambda: sock.connect_ex(str(path)) == 0)
        return sock

    runner.meet(connect())
    first = runner.welcome
    runner.send(Start(5, "hook", 1, event(phase=Phase.END)))
    runner.leave()
    runner.meet(connect())
    while not runner.welcome.ended:
        runner.leave()
        runner.meet(connect())
    assert runner.welcome.instance == first.instance
    assert [(one.run_id, one.receipt.exit_status) for one in runner.welcome.ended] == [(5, 1)]
    runner.send(Settled([5]))
    runner.leave()
    runner.meet(connect())
    assert runner.welcome.ended == []
    runner.terminate()
    assert runner.process.wait(30) == 0
    assert not os.path.exists(path) or path.is_socket()
