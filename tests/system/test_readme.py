# SPDX-License-Identifier: LGPL-2.1-or-later
"""The README pasted into a fresh system: install the package, define a hook, look at it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.box import Box
from tests.support.machine import TREE


def test_from_the_package_to_the_first_hook(empty_box: Box, deb: Path) -> None:
    blocks = re.findall(r"```sh\n(.*?)```", (TREE / "README.md").read_text(), re.DOTALL)
    (install,) = (block for block in blocks if block.startswith("make deb\n"))
    pasted = [block for block in blocks if block.startswith(("cat", "hookctl"))]
    empty_box.run("mkdir -p /root/tree/dist")  # where `make deb` leaves what `deb` has built
    empty_box.copy(deb, f"/root/tree/dist/{deb.name}")
    empty_box.run("cd /root/tree\n" + install.removeprefix("make deb\n"), seconds=120)
    shown = empty_box.read("journalctl() { command journalctl --sync; command journalctl "
                           '"$@"; }\n' + "\n".join(pasted))  # fmt: skip
    assert "1 hook loaded" in shown
    assert len(re.findall(r"hook hello \(run \d+\) success", shown)) >= 2
    assert "end of job 1: Mail_Archive, 12 files" in shown
    assert "as root" not in shown
