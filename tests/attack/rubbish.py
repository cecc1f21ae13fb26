# SPDX-License-Identifier: LGPL-2.1-or-later
"""Messages that are no calls, and calls that are no good ones."""

from __future__ import annotations

_DEEP = 100_000

CLOSED = [
    b"",
    b"GET / HTTP/1.1\r\n\r\n",
    b"\xff\xfe\x00"[:2],
    b'{"method":"io.hookd.Manager.GetStatus","x":NaN}',
    b'{"method":"io.hookd.Manager.GetStatus","x":Infinity}',
    b'{"method":"io.hookd.Manager.GetStatus","parameters":{"x":"\xc3\x28"}}',
    b'{"method":"io.hookd.Jobs.ServerStarted","parameters":{"instance":"\\ud800"}}',
    b'{"method":"io.hookd.Jobs.ServerStarted","parameters":{"instance":"\xed\xa0\x80"}}',
    b'{"method":"x.y","x":' + b"[" * _DEEP + b"]" * _DEEP + b"}",
    b'{"method":"x.y","parameters":' + b'{"a":' * _DEEP + b"1" + b"}" * _DEEP + b"}",
    b'{"method":"x.y","x":' + b"[" * _DEEP,
    b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":1,"job_id":2}}',
    b'{"method":"io.hookd.Jobs.GetJob","method":"io.hookd.Manager.Reload"}',
    b'{"method":"x.y","parameters":{' + b",".join([b'"a":1'] * 150_000) + b"}}",
    b'{"method":"x.y","x":[' + b",".join([b"{}"] * 300_000) + b"]}" + b"}",
]
"""What closes the connection."""


def _end(parameters: bytes) -> bytes:
    return b'{"method":"io.hookd.Jobs.EndJob","parameters":{"job_id":1,%s}}' % parameters


ANSWERED = [
    _end(b'"file_count":%s,"byte_count":0' % (b"9" * 5000)),
    _end(b'"file_count":true,"byte_count":0'),
    _end(b'"file_count":1.5,"byte_count":0'),
    _end(b'"file_count":"1","byte_count":0'),
    _end(b'"file_count":1e999,"byte_count":0'),
    _end(b'"file_count":-1,"byte_count":0'),
    _end(b'"file_count":0,"byte_count":-9223372036854775808'),
    _end(b'"file_count":0,"byte_count":9223372036854775808'),
    _end(b'"file_count":18446744073709551616,"byte_count":0'),
    b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":9223372036854775808}}',
    b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":0}}',
    b'{"method":"io.hookd.Jobs.GetJob","parameters":[1]}',
    b'{"method":"io.hookd.Jobs.GetJob","parameters":{"job_id":1,"%s":1}}' % (b"k" * 500_000),
    b'{"method":"io.hookd.Manager.Subscribe","more":true,"parameters":{"since":1.5}}',
]
"""What is answered with InvalidParameter."""
