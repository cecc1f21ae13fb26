# SPDX-License-Identifier: LGPL-2.1-or-later
"""What operators ask of the daemon: tests, replays, subscriptions, figures."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.daemon import Daemon
from tests.support.eventually import eventually
from tests.support.wire import Wire

MANAGER = "io.hookd.Manager."


@pytest.fixture(scope="module")
def shared_hookd(shared: Daemon) -> Daemon:
    """Return a daemon in which each test gives a hook of its own to jobs of its profile."""
    shared.start()
    return shared


def define(daemon: Daemon, profile: str, text: str) -> None:
    """Give jobs of this profile a hook of the same name, and no other."""
    daemon.hook(profile, f'match.profile = "{profile}"\n{text}')
    with Wire(daemon.socket) as wire:
        wire.call(MANAGER + "Reload")


def replies(wire: Wire) -> list[dict[str, Any]]:
    """Return all replies to a call with `more`."""
    found = [wire.receive()]
    while found[-1].get("continues"):
        found.append(wire.receive())
    return [reply["parameters"] for reply in found]


def test_a_test_is_a_true_run_whose_output_is_seen(shared_hookd: Daemon) -> None:
    script = shared_hookd.script(
        "say", 'echo "$HOOKD_TEST $HOOKD_PHASE $1"; echo oops >&2; exit 3'
    )
    define(shared_hookd, "say", f'command = "{script} $PROFILE"\n')
    with Wire(shared_hookd.socket) as wire:
        wire.send(
            MANAGER + "TestHook", {"hook": "say", "phase": "end", "profile": "a b"}, more=True
        )
        found = replies(wire)
        lines = [(line["stream"], line["text"]) for reply in found for line in reply["output"]]
        assert sorted(lines) == [("stderr", "oops"), ("stdout", "1 end a_b")]
        assert (found[-1]["run"]["result"], found[-1]["run"]["exit_status"]) == ("failed", 3)
        (listed,) = wire.call(MANAGER + "ListJobs", {"profile": "a b"})["jobs"]
        job = wire.job(listed["job_id"])
        assert (job["test"], job["state"], job["outcome"]) == (True, "ended", "success")
        assert wire.error(MANAGER + "TestHook", {"hook": "none", "phase": "end"}) == (
            MANAGER + "NoSuchHook",
            {"hook": "none"},
        )


def test_a_dry_run_starts_nothing_and_hides_secrets(shared_hookd: Daemon) -> None:
    define(
        shared_hookd,
        "no",
        'command = "/bin/echo $EVENT x$USER"\n[run]\nenvironment = { KEY = "s3" }\n',
    )
    with Wire(shared_hookd.socket) as wire:
        before = wire.call(MANAGER + "ListJobs")["jobs"]
        answer = wire.call(
            MANAGER + "TestHook",
            {"hook": "no", "phase": "start", "profile": "no", "user": "u", "dry_run": True},
        )
        plan = answer["plan"]
        assert plan["argv"] == ["/bin/echo", "true", "xu"]
        assert plan["environment"]["HOOKD_TEST"] == "1"
        assert plan["environment"]["KEY"] == "(not shown)"
        assert plan["matched"] is True
        assert wire.call(MANAGER + "ListJobs")["jobs"] == before


def test_a_replay_is_the_next_attempt(shared_hookd: Daemon) -> None:
    marker = shared_hookd.directory / "mended"
    define(shared_hookd, "try", f'command = "{shared_hookd.script("try", f"[ -e {marker} ]")}"\n')
    with Wire(shared_hookd.socket) as wire:
        job_id = wire.start(profile="try", wait=True)["job_id"]
        wire.end(job_id=job_id, outcome="success", wait=True)
        marker.touch()
        again = wire.call(MANAGER + "Replay", {"job_id": job_id})["hooks"]
        assert [(run["phase"], run["attempt"]) for run in again] == [("start", 2), ("end", 2)]
        eventually(lambda: all(run["state"] == "ended" for run in wire.job(job_id)["hooks"]))
        results = [(r["phase"], r["attempt"], r["result"]) for r in wire.job(job_id)["hooks"]]
    assert results == [
        ("start", 1, "failed"),
        ("end", 1, "failed"),
        ("start", 2, "success"),
        ("end", 2, "success"),
    ]


def test_a_subscriber_hears_of_everything_and_can_go_on(shared_hookd: Daemon) -> None:
    define(shared_hookd, "heard", 'command = "/bin/true"\nphases = ["start"]\n')
    with Wire(shared_hookd.socket) as ears, Wire(shared_hookd.socket) as wire:
        ears.send(MANAGER + "Subscribe", more=True)
        ears.receive()
        job_id = wire.start(profile="heard", wait=True)["job_id"]
        heard: list[dict[str, Any]] = []
        while len(heard) < 3:
            heard += ears.receive()["parameters"]["notices"]
        told = [(n["job_id"], n["run"] and n["run"]["state"]) for n in heard]
        assert told == [(job_id, None), (job_id, "running"), (job_id, "ended")]
        assert [n["seq"] - heard[0]["seq"] for n in heard] == [0, 1, 2]
        with Wire(shared_hookd.socket) as later:
            later.send(MANAGER + "Subscribe", {"since": heard[0]["seq"]}, more=True)
            reply = later.receive()["parameters"]
            assert ([n["seq"] for n in reply["notices"]], reply["missed"]) == (
                [n["seq"] for n in heard[1:]],
                False,
            )
        with Wire(shared_hookd.socket) as late:
            late.send(MANAGER + "Subscribe", {"since": 1}, more=True)
            assert late.receive()["parameters"]["missed"] is True
        assert wire.error(MANAGER + "Subscribe")[0] == "org.varlink.service.ExpectedMore"


def test_figures_are_told_as_values(shared_hookd: Daemon) -> None:
    define(shared_hookd, "counted", 'command = "/bin/true"\n')

    def figures(wire: Wire) -> dict[str, Any]:
        return {one["name"]: one for one in wire.call(MANAGER + "GetMetrics")["families"]}

    with Wire(shared_hookd.socket) as wire:
        before = figures(wire)
        wire.start(profile="counted", wait=True)
        after = figures(wire)
    for name in ("hookd_jobs_started", "hookd_jobs_open"):
        (was,), now = before[name]["samples"], after[name]["samples"]
        assert [one["value"] for one in now] == [was["value"] + 1]
    assert after["hookd_healthy"]["samples"] == [{"labels": {}, "value": 1.0, "buckets": []}]
    ran = {"hook": "counted", "phase": "start", "result": "success"}
    assert {"labels": ran, "value": 1.0, "buckets": []} in after["hookd_runs"]["samples"]
    (duration,) = (
        one
        for one in after["hookd_run_duration_seconds"]["samples"]
        if one["labels"] == {"hook": "counted"}
    )
    assert duration["buckets"][-1] == {"upper_bound": None, "count": 1}
    assert 0 < duration["value"] < 60


WAIT_FOR_ITSELF = """\
import json, os, socket
s = socket.socket(socket.AF_UNIX)
s.connect({path!r})
end = {{"job_id": int(os.environ["HOOKD_JOB_ID"]), "file_count": 0, "byte_count": 0, "wait": True}}
s.sendall(json.dumps({{"method": "io.hookd.Jobs.EndJob", "parameters": end}}).encode() + b"\\0")
print(s.recv(65536).rstrip(b"\\0").decode())
"""


def test_a_hook_cannot_wait_for_its_own_job(shared_hookd: Daemon) -> None:
    script = shared_hookd.directory / "self.py"
    script.write_text(
        "#!/usr/bin/python3\n" + WAIT_FOR_ITSELF.format(path=str(shared_hookd.socket))
    )
    script.chmod(0o755)
    define(shared_hookd, "self", f'command = "/bin/sh -c {script}"\nphases = ["start"]\n')
    with Wire(shared_hookd.socket) as wire:
        answer = wire.start(profile="self", wait=True)
        job_id = answer["job_id"]
        assert answer["hooks"][0]["result"] == "success"
        assert "WouldDeadlock" in shared_hookd.said() or wire.job(job_id)["state"] == "running"
        wire.call("EndJob", {"job_id": job_id, "file_count": 0, "byte_count": 0, "wait": True})
        assert wire.job(job_id)["profile"] == "self"


def test_open_jobs_are_counted_over_a_refusal_and_a_restart(daemon: Daemon) -> None:
    gate = daemon.script("gate", "exit 1")
    daemon.hook("gate", f'command = "{gate}"\nkind = "gate"\nmatch.profile = "refused"\n')
    for _ in range(2):
        daemon.start()
        with Wire(daemon.socket) as wire:
            before = wire.status()["open_jobs"]
            jobs = [wire.start()["job_id"] for _ in range(3)]
            assert not wire.start(profile="refused")["allowed"]
            wire.end(job_id=jobs[0])
            assert wire.status()["open_jobs"] == before + 2
        assert daemon.stop() == 0
    assert before == 2
