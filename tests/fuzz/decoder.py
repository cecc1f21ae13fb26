# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the bytes: calls, parameters, events, or an error of ours that can be sent; else none.

What is taken for a call, Python's own JSON reads the same way; how the bytes were cut into pieces
changes nothing.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from hookd.config.template import MAX_WORD, Template, environment
from hookd.errors import HookdError, ProtocolError
from hookd.jobs_api import EndJob, ServerStarted, StartJob
from hookd.manager_api import Cancel, ListJobs
from hookd.model import Event, Outcome
from hookd.server.api import validation
from hookd.server.api.methods import METHODS, decode_parameters
from hookd.server.transport.varlink import CallReader, decode_call, encode_error

COMMAND = Template("/x $EVENT $CLIENT_IP $CLIENT_BUILD_NO $PROFILE $USER a$PROFILE_NAME $JOB_ID")
WORDS = 8


def check(data: bytes) -> None:
    """Read the bytes as a client's stream; the first one says where it is cut in two."""
    cut, stream = data[:1] or b"\0", data[1:]
    messages = _messages(stream[: cut[0]], stream[cut[0] :])
    assert messages == _messages(stream) == stream.split(b"\0")[:-1]
    for message in messages:
        _check_message(message)


def _messages(*pieces: bytes) -> list[bytes]:
    reader = CallReader()
    found = []
    for piece in pieces:
        reader.feed(piece)
        while (message := reader.next()) is not None:
            found.append(message)
    return found


def _check_message(message: bytes) -> None:
    try:
        call = decode_call(message)
    except ProtocolError:
        return
    assert json.loads(message.decode(), parse_int=str)["method"] == call.method
    try:
        asked = decode_parameters(call)
        assert type(asked) is METHODS[call.method].parameters
        assert msgspec.json.decode(msgspec.json.encode(asked), type=type(asked)) == asked
        _check_values(asked)
    except HookdError as e:
        reply = encode_error(e)
        assert reply[-1:] == b"\0" and json.loads(reply[:-1])["error"] == e.code


def _check_values(asked: Any) -> None:
    if isinstance(asked, StartJob):
        _check_event(validation.start_event(asked))
    elif isinstance(asked, EndJob):
        assert isinstance(validation.check_end(asked), Outcome)
    elif isinstance(asked, ListJobs):
        before, limit = validation.check_page(asked)
        assert limit >= 1 and (before is None or before >= 0)
    elif isinstance(asked, Cancel):
        validation.check_cancel(asked)
    elif isinstance(asked, ServerStarted):
        validation.check_instance(asked.instance)


def _check_event(event: Event) -> None:
    """See that what was accepted can be given to a program."""
    words = COMMAND.expand(event)
    assert len(words) == WORDS
    for text in (*words, *environment(event).values()):
        assert "\0" not in text
        assert len(text.encode()) < MAX_WORD
