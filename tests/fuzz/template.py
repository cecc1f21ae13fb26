# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the text: a command whose words no value can change in number, or a ValueError.

The error says what is allowed. Where Python's shlex is not known to differ, the words are its own.
"""

from __future__ import annotations

import contextlib
import shlex

from hookd.config.template import Template
from hookd.model import Event, Phase

DIFFERENT = ("$", "`", "\r", "\\\n")
"""What shlex leaves in double quotes, takes for a blank, or keeps, and POSIX does not."""

PLAIN = Event(
    phase=Phase.START, job_id=1, profile="p", user="u", client_ip="::1", client_build_no=""
)
VALUE = "a b\n$USER '\" \\ $(id) ${ `*"
HOSTILE = Event(
    phase=Phase.END, job_id=2, profile=VALUE, user=VALUE, client_ip=VALUE, client_build_no=VALUE
)


def check(data: bytes) -> None:
    """Make a command of the bytes, as far as they are UTF-8."""
    text = data.decode(errors="ignore")
    try:
        template = Template(text)
    except ValueError as e:
        assert "; allowed: " in str(e)
        return
    words = template.expand(PLAIN)
    assert words[0] == template.program and words[0].startswith("/")
    assert len(template.expand(HOSTILE)) == len(words)
    assert template.expand(HOSTILE)[0] == words[0]
    if not any(different in text for different in DIFFERENT):
        assert words == shlex.split(text)
        with contextlib.suppress(ValueError):
            again = Template(shlex.join(words))
            assert again.expand(PLAIN) == words
