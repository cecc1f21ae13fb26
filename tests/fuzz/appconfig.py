# SPDX-License-Identifier: LGPL-2.1-or-later
"""Whatever the bytes: a hook file that says what Syncrify's said, or an AppConfigError.

The hook file always loads; a command that cannot run stands in it as a comment.
"""

from __future__ import annotations

import tomllib

from hookd.cli.appconfig import AppConfigError, hook_file, hook_script
from hookd.config.parse import Source, parse

PATH = "/e/syncrify.toml"
WRAPPED = b'<c><parameter name="jobHookScript" value="%s"/></c>'


def check(data: bytes) -> None:
    """Take the bytes for an AppConfig.xml, and for the value of the parameter in one."""
    for document in (data, WRAPPED % data):
        try:
            script = hook_script(document)
        except AppConfigError as e:
            assert str(e)
            continue
        text, problem = hook_file(script, PATH)
        hooks = parse([Source(PATH, "syncrify", text.encode())]).hooks
        if problem is None:
            assert hooks["syncrify"].command.text == script
        else:
            assert hooks == {}
            (comment,) = [line for line in text.splitlines() if line.startswith("# command = ")]
            assert tomllib.loads(comment.removeprefix("# ")) == {"command": script}
