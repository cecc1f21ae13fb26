# SPDX-License-Identifier: LGPL-2.1-or-later
"""What is said at load about a command whose work is out of reach."""

from __future__ import annotations

import pytest

from hookd.config.parse import Source, parse
from hookd.runner.launch.capabilities import escapes

COMMANDS = {
    "/usr/bin/systemd-run --wait /usr/bin/tar": ["systemd-run"],
    "/usr/bin/systemd-run --scope /usr/bin/tar": [],
    "/bin/sh -c 'echo /x/backup | at now'": ["at"],
    "/bin/sh -c '/usr/bin/docker exec db dump; batch <job'": ["batch", "docker"],
    "/usr/local/bin/docker-backup at-night": [],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_what_a_command_shows_to_escape(command: str) -> None:
    hook = parse([Source("x", "x", f'command = "{command}"'.encode())]).hooks["x"]
    assert escapes(hook) == COMMANDS[command]
