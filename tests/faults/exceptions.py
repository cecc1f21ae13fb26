# SPDX-License-Identifier: LGPL-2.1-or-later
"""The points of tests/faults/test_faults.py that it does not reach, or that are known to do harm.

tests/lint/test_callbacks.py requires that each row names a callback that the code still has.
"""

from __future__ import annotations

LIFE = "called only while a process starts or stops; an error there ends the start or the stop"
LINK = "called only when the link between server and runner begins or breaks"
SECOND = "called only after another error of hookd's own"
DISK = "called only at the start, or while the disk fails: test_store_faults.py has such disks"
HUNG = "called only while a system call of a launcher or a look-up hangs"
SLOW_READER = "called only while a peer does not read what is written to it"
SYSTEMD = "called only with a service manager's socket, watchdog or control groups"
THREAD = "the body of a thread, which guards each round of its loop; not a callback of a loop"
TRIVIAL = "sets a timer or waits for an event; runs no other code of hookd"
RARE = "called only at the start, or by a timer of many seconds"
RACE = "called only if two events meet in one turn of the loop"
KILLED = "called only for processes whose launcher was killed"

UNREACHED = {
    "hookd/runner/launch/cgroup.py: call_later: self._remove": SYSTEMD,
    "hookd/runner/launch/orphans.py: call_later: group.kill": KILLED,
    "hookd/runner/launch/orphans.py: create_task: self._work()": KILLED,
    "hookd/runner/launch/pool.py: guarded: self._readable":
        "called only for a launcher that dies before its run has ended",
    "hookd/runner/launch/pool.py: Timer: self._expire": RARE,
    "hookd/runner/launch/zygote.py: call_later: self._process.kill": LIFE,
    "hookd/runner/main.py: add_signal_handler: self._stop.set": LIFE,
    "hookd/runner/main.py: create_task: self._serve_one()": LIFE,
    "hookd/runner/run/output.py: Output(failed)": SECOND,
    "hookd/runner/run/output.py: when_flushed: lambda: self._called(self._pump)": SLOW_READER,
    "hookd/runner/run/closing.py: guarded: self._record": SECOND,
    "hookd/runner/run/phases.py: RunState(failed)": SECOND,
    "hookd/runner/run/resolver.py: call_later: self._give_up": HUNG,
    "hookd/runner/run/resolver.py: guarded: self._unanswered": HUNG,
    "hookd/runner/run/supervisor.py: guarded: self._drop": SECOND,
    "hookd/runner/run/supervisor.py: guarded: launch.launcher.kill": SECOND,
    "hookd/runner/run/supervisor.py: guarded: self._services.orphans.stir": SECOND,
    "hookd/runner/run/supervisor.py: guarded: self._conclude": SECOND,
    "hookd/runner/run/supervisor.py: guarded: self._output.finish": SECOND,
    "hookd/runner/run/termination.py: add_done_callback: self._tasks.discard": HUNG,
    "hookd/runner/run/termination.py: keep: partial(self._kill, launcher)": HUNG,
    "hookd/runner/server_link.py: ServerLink(complain)": LINK,
    "hookd/runner/server_link.py: ServerLink(failed)": SECOND,
    "hookd/runner/server_link.py: Timer: self._hand_on":
        "called only when many messages come at once",
    "hookd/runner/server_link.py: _Connection(failed)": SECOND,
    "hookd/runner/server_link.py: _Connection.lost": LINK,
    "hookd/runner/server_link.py: _Connection.pause_writing": SLOW_READER,
    "hookd/runner/server_link.py: _Connection.resume_writing": SLOW_READER,
    "hookd/server/runner_session.py: Timer: partial(self.lost, 'it has not said who it is')":
        LINK,
    "hookd/server/runner_session.py: Timer: self._dispatcher.ask_again": SECOND,
    "hookd/server/daemon.py: Timer: self._reread": SECOND,
    "hookd/server/storage_health.py: keep: self._try_again": DISK,
    "hookd/server/daemon.py: submit: done": SECOND,
    "hookd/server/dispatch/restore.py: guarded: partial(self._take, one, found)": LIFE,
    "hookd/server/dispatch/gates.py: Timer: partial(self._write, run_id, refusal, apply)": DISK,
    "hookd/server/dispatch/gates.py: Timer: apply": DISK,
    "hookd/server/dispatch/handover.py: Handover(dropped)": RARE,
    "hookd/server/dispatch/handover.py: Timer: self.kick": DISK,
    "hookd/server/dispatch/handover.py: guarded: partial(self._dropped, drops)": RARE,
    "hookd/server/dispatch/handover.py: submit: lambda _: None": LINK,
    "hookd/server/dispatch/results.py: Results(given_up)": SECOND,
    "hookd/server/dispatch/results.py: Timer: self._save_again": DISK,
    "hookd/server/main.py: add_signal_handler: stop.set": LIFE,
    "hookd/server/main.py: create_task: daemon.start(sock)": LIFE,
    "hookd/server/maintenance.py: Timer: self._lose_tied": DISK,
    "hookd/server/storage/store.py: Store(missed)": SECOND,
    "hookd/server/storage/store.py: Store(on_health)": DISK,
    "hookd/server/storage/store.py: _Operation(failed)": SECOND,
    "hookd/server/storage/store.py: add: partial(faults.report, e, 'a commit')": SECOND,
    "hookd/server/storage/threads.py: add: partial(faults.report, e, 'a query')": SECOND,
    "hookd/server/storage/store.py: add: partial(faults.report, e, 'a transaction')":
        SECOND,
    "hookd/server/storage/store.py: add: partial(faults.report, e, 'a trial of the disk')":
        SECOND,
    "hookd/server/storage/store.py: add: partial(self._on_health, fault)": DISK,
    "hookd/server/transport/connection.py: Connection.pause_writing": SLOW_READER,
    "hookd/server/transport/connection.py: Connection.resume_writing": SLOW_READER,
    "hookd/server/transport/connection.py: call_later: self.cut": SLOW_READER,
    "hookd/server/transport/connection.py: call_later: self.finish": RARE,
    "hookd/server/transport/listener.py: call_later: self._loop.add_reader":
        "called only when no descriptor is left: tests/attack",
    "hookd/server/transport/runner_link.py: RunnerLink.lost": LINK,
    "hookd/server/transport/runner_link.py: Timer: self._hand_on":
        "called only when many messages come at once",
    "hookd/server/transport/runner_link.py: guarded: partial(self._on_messages, [message])":
        SECOND,
    "hookd/server/transport/runner_link.py: keep: "
    "lambda: self._keep(lambda: self._start(command))":
        "called only if the server starts its runner itself",
    "hookd/system/journal.py: Timer: self._drain": SLOW_READER,
    "hookd/system/journal.py: add_writer: self._drain": SLOW_READER,
    "hookd/system/journal.py: call_soon: callback": SLOW_READER,
    "hookd/system/journal.py: guarded: self._waiting.popleft()": SLOW_READER,
    "hookd/system/journal.py: when_flushed: event.set": SLOW_READER,
    "hookd/system/lookups.py: call_soon_threadsafe: self._answers.soon": TRIVIAL,
    "hookd/system/sd_notify.py: Timer: self._feed": SYSTEMD,
    "hookd/system/sd_notify.py: guarded: lambda: state.append(f'STATUS={self._describe()}')":
        SYSTEMD,
    "hookd/server/dispatch/handover.py: guarded: self._claim": RACE,
    "hookd/server/api/jobs.py: Jobs(tie_broken)": RACE,
    "hookd/server/storage/store.py: guarded: partial(self._undelivered, operation, error)": SECOND,
    "hookd/server/transport/connection.py: call_soon: self._cancel_wait": RACE,
    "hookd/server/transport/runner_link.py: RunnerLink(on_lost)": LINK,
    "hookd/server/dispatch/restore.py: RunRestorer(now)": LIFE,
    "hookd/server/dispatch/restore.py: RunRestorer(set_aside)": SECOND,
    "hookd/server/storage_health.py: StorageHealth(changed)": DISK,
    "hookd/server/storage_health.py: StorageHealth(try_out)": DISK,
    "hookd/server/transport/listener.py: add_done_callback: partial(self._gone, connection, sock)":
        "passed to a Task of asyncio, which is written in C: it cannot be wrapped there",
    "hookd/server/main.py: ensure_future: reload.wait()": TRIVIAL,
    "hookd/server/main.py: ensure_future: stop.wait()": TRIVIAL,
    "hookd/server/storage/store.py: Thread: self._write": THREAD,
    "hookd/server/storage/threads.py: Thread: self._run": THREAD,
    "hookd/server/storage/threads.py: call_soon_threadsafe: self._soon.soon": TRIVIAL,
    "hookd/server/storage/store.py: to_thread: self._join": THREAD,
    "hookd/server/transport/runner_link.py: to_thread: child.wait": THREAD,
    "hookd/system/lookups.py: Thread: self._work": THREAD,
    "hookd/runner/main.py: create_task: self._runner.configuration.load()": LIFE,
    "hookd/runner/main.py: create_task: self._stop.wait()": LIFE,
    "hookd/runner/main.py: keep: lambda: self._link.listen(listener)": LIFE,
    "hookd/runner/server_link.py: ServerLink(welcome)": LINK,
    "hookd/runner/server_link.py: _Connection.made": LINK,
    "hookd/server/maintenance.py: keep: self._check_database": RARE,
    "hookd/server/runner_session.py: guarded: partial(self._welcome, message)": LINK,
    "hookd/server/storage/store.py: Store(opened)": LIFE,
    "hookd/server/storage/store.py: add: self._opened(db)": LIFE,
    "hookd/server/storage/store.py: add: partial(complete, batch, None)": DISK,
    "hookd/server/transport/runner_link.py: RunnerLink.made": LINK,
    "hookd/server/transport/runner_link.py: keep: lambda: self._keep(lambda: self._connect(path))":
        LINK,
}  # fmt: skip
"""The points that the work of `Bench.round` does not reach, and why."""

GATE = "the run stays in its state: its job waits until the gate's deadline"

KNOWN = {
    "hookd/runner/run/phases.py: create_task: self._guarded(work)":
        f"the error is raised outside the guard of the task; {GATE}",
    "hookd/runner/launch/zygote.py: guarded: self._readable":
        "the answer of the zygote is lost: the run that waits for this launcher does not start",
    "hookd/server/dispatch/dispatcher.py: Dispatcher(now)": f"the clock fails; {GATE}",
    "hookd/server/dispatch/results.py: Results(now)": f"the clock fails; {GATE}",
    "hookd/server/dispatch/dispatcher.py: guarded: partial(self._decided, decision, finishes)":
        "the run is set aside until the next start, which harms no other run; ListJobs does not "
        "tell it from a run that waits",
}  # fmt: skip
"""The points whose error still does harm, and which; each is expected to fail its test."""
