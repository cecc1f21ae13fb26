# SPDX-License-Identifier: LGPL-2.1-or-later
"""Every callback of both processes is dispatched by hookd.system.faults, or named here.

What is not: a callback that belongs to one operation alone, whose error the event loop's exception
handler takes, and which leaves nobody waiting.
"""

from __future__ import annotations

import ast

import pytest

from tests.faults.exceptions import KNOWN, UNREACHED
from tests.support.callbacks import FAULTS, LOOP, Point, points, sources

TRANSPORT = {
    "made": "called by faults.Connection, which guards it",
    "lost": "called by faults.Connection, which guards it",
    "get_buffer": "asyncio ends the connection",
    "buffer_updated": "asyncio ends the connection",
    "eof_received": "asyncio ends the connection",
    "pause_writing": "asyncio reports it, and the connection goes on",
    "resume_writing": "asyncio reports it, and the connection goes on",
    "__init__": "called in a callback that is looked at where it is given away",
}
OURS = {
    "submit": "Store._deliver guards each outcome",
    "add": "LoopCalls._call guards each call",
}

LIFE = "an error ends the process, as it starts or stops, or is taken where it is awaited"
AWAITED = "its error is raised where it is awaited"
SMALL = "sets a flag, a timer or a reader, and nothing else"
OWN = "of one connection alone; asyncio reports its error"
THREAD = "guards each round of its loop; what it tells goes through LoopCalls.add or _done"

UNGUARDED = {
    "hookd/runner/launch/cgroup.py: call_later: self._remove":
        "of one group alone, which the end of the unit removes at the latest",
    "hookd/runner/launch/orphans.py: create_task: self._work()":
        "guards each of its rounds; begins anew with the next launcher that dies",
    "hookd/runner/launch/orphans.py: call_later: group.kill":
        "of one group alone; its processes are looked for again in each round",
    "hookd/runner/launch/zygote.py: call_later: self._process.kill": LIFE,
    "hookd/runner/main.py: add_signal_handler: self._reload": "loses one SIGHUP, which is counted",
    "hookd/runner/main.py: add_signal_handler: self._stop.set": SMALL,
    "hookd/runner/main.py: create_task: self._runner.configuration.load()": LIFE,
    "hookd/runner/main.py: create_task: self._serve_one()": LIFE,
    "hookd/runner/main.py: create_task: self._stop.wait()": LIFE,
    "hookd/runner/run/termination.py: add_done_callback: self._tasks.discard": SMALL,
    "hookd/server/main.py: add_signal_handler: reload.set": SMALL,
    "hookd/server/main.py: add_signal_handler: stop.set": SMALL,
    "hookd/server/main.py: create_task: daemon.start(sock)": LIFE,
    "hookd/server/main.py: ensure_future: reload.wait()": LIFE,
    "hookd/server/main.py: ensure_future: stop.wait()": LIFE,
    "hookd/server/storage/store.py: Thread: self._write": THREAD,
    "hookd/server/storage/store.py: to_thread: self._join": AWAITED,
    "hookd/server/storage/threads.py: Thread: self._run": THREAD,
    "hookd/server/storage/threads.py: call_soon_threadsafe: self._soon.soon": SMALL,
    "hookd/server/transport/connection.py: call_later: self.cut": OWN,
    "hookd/server/transport/connection.py: call_later: self.finish": OWN,
    "hookd/server/transport/connection.py: call_soon: self._cancel_wait": OWN,
    "hookd/server/transport/hangups.py: add_reader: self._hung_up":
        "guards each that it tells; is called again while one is left",
    "hookd/server/transport/listener.py: add_reader: self._accept":
        "guards each connection; is called again while one waits",
    "hookd/server/transport/listener.py: call_later: self._loop.add_reader": SMALL,
    "hookd/server/transport/runner_link.py: to_thread: child.wait": AWAITED,
    "hookd/server/transport/listener.py: add_done_callback: partial(self._gone, connection, sock)":
        OWN,
    "hookd/system/journal.py: add_writer: self._drain":
        "guards each record and each that waits; is called again while there is room",
    "hookd/system/journal.py: call_soon: callback":
        "a callback that is looked at where when_flushed is given it",
    "hookd/system/journal.py: when_flushed: event.set": SMALL,
    "hookd/system/lookups.py: Thread: self._work": THREAD,
    "hookd/system/lookups.py: call_soon_threadsafe: self._answers.soon": SMALL,
}  # fmt: skip
"""What is given to the loop or to a thread without a guard, and why nobody else suffers."""


def _guards(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Return whether everything that a function does is guarded or, where it raises, reported."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return all(_guarded(statement) for statement in body)


def _guarded(statement: ast.stmt) -> bool:
    if isinstance(statement, ast.Expr):
        return isinstance(statement.value, ast.Call) and _name(statement.value.func) == "guarded"
    if isinstance(statement, ast.Try):
        handlers = {
            ast.unparse(one.type): ast.unparse(one) for one in statement.handlers if one.type
        }
        return "faults.report(" in handlers.get("Exception", "")
    return False


def _name(callback: ast.expr) -> str:
    """Return the name of the function that a callback calls."""
    if isinstance(callback, ast.Lambda):
        return _name(callback.body)
    if isinstance(callback, ast.Call):
        called = _name(callback.func)
        return _name(callback.args[0]) if called == "partial" else called
    return getattr(callback, "attr", getattr(callback, "id", ""))


def _guarding() -> set[tuple[str, str]]:
    """Return the functions that guard all that they do, by their files."""
    return {
        (file, node.name)
        for file, tree in sources()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and _guards(node)
    }


def _unguarded(found: list[Point]) -> set[str]:
    guarding = _guarding()
    return {
        point.name
        for point in found
        if point.called not in FAULTS
        and point.called not in OURS
        and point.called not in TRANSPORT
        and not (point.callback is not None and (point.file, _name(point.callback)) in guarding)
    }


def test_each_callback_is_guarded_or_named_with_a_reason() -> None:
    found = points()
    assert _unguarded(found) == UNGUARDED.keys()
    assert {point.called for point in found} <= {*FAULTS, *OURS, *TRANSPORT, *LOOP, "Thread",
                                                 "when_flushed"}  # fmt: skip
    assert all(UNGUARDED.values())


def test_the_tables_of_the_faults_tier_name_callbacks_of_the_code() -> None:
    names = {point.name for point in points()}
    assert UNREACHED.keys() | KNOWN.keys() <= names
    assert not UNREACHED.keys() & KNOWN.keys()


@pytest.mark.parametrize(
    "body",
    [
        "self.act()",
        "self.begin()\n    faults.guarded('a', self.act)",
        "try:\n        self.act()\n    except OSError as e:\n        faults.report(e, 'a')",
        "try:\n        self.act()\n    except Exception:\n        pass",
    ],
)
def test_half_a_guard_is_none(body: str) -> None:
    [function] = ast.parse(f"def callback(self):\n    {body}\n").body
    assert isinstance(function, ast.FunctionDef)
    assert not _guards(function)
