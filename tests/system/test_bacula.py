# SPDX-License-Identifier: LGPL-2.1-or-later
"""Bacula of Debian 12, the last with a director that needs no database server, as hookd's jobs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, debian
from tests.system.conftest import BASE, TOOLS
from tests.system.test_bookworm import PACKAGES, set_up

BACULA = ["console", "director", "director-sqlite3", "fd", "sd"]
BRIDGE = TREE / "packaging/examples/bridges/bacula"
PLACES = 'WorkingDirectory = "/var/lib/bacula"; PidDirectory = "/run/bacula"'
TOLD = "Messages { Name = Standard; director = dir = all }"
PEER = 'Director { Name = dir; Password = "p" }'
DIRECTOR = f"""
Director {{
  Name = dir; DIRport = 9101; DirAddress = 127.0.0.1; Password = "p"; Messages = Standard
  QueryFile = "/etc/bacula/scripts/query.sql"; {PLACES}
}}
Catalog {{ Name = C; dbname = "bacula"; dbuser = ""; dbpassword = "" }}
Client {{ Name = client; Address = 127.0.0.1; FDPort = 9102; Catalog = C; Password = "p" }}
Storage {{
  Name = File; Address = 127.0.0.1; SDPort = 9103; Password = "p"; Device = Disk; Media Type = File
}}
FileSet {{ Name = Files; Include {{ Options {{ signature = MD5 }}; File = /srv/documents }} }}
Pool {{ Name = Default; Pool Type = Backup; Label Format = "Vol-" }}
Messages {{ Name = Standard; console = all; append = "/var/lib/bacula/log" = all }}
Job {{
  Name = documents; Type = Backup; Level = Full; Client = client; FileSet = Files
  Storage = File; Pool = Default; Messages = Standard
  @scripts@
}}
"""
STORAGE = f"""
Storage {{ Name = sd; SDPort = 9103; SDAddress = 127.0.0.1; {PLACES} }}
{PEER}
Device {{
  Name = Disk; Media Type = File; Archive Device = /srv/vault; LabelMedia = yes
  Random Access = yes; AutomaticMount = yes; RemovableMedia = no; AlwaysOpen = no
}}
{TOLD}
"""
FILES = f"""
FileDaemon {{ Name = fd; FDport = 9102; FDAddress = 127.0.0.1; {PLACES} }}
{PEER}
{TOLD}
"""
CONSOLE = 'Director { Name = dir; DIRport = 9101; address = 127.0.0.1; Password = "p" }\n'


def scripts() -> str:
    """Return the RunScript blocks as the bridge's first lines have them."""
    block = re.search(r"(?ms)^# +RunScript \{.*?^#     \}\n", BRIDGE.read_text())
    assert block
    return re.sub("(?m)^#", "", block[0]).rpartition("}")[0]


@pytest.fixture(scope="module")
def bacula(wheels: list[Path]) -> Iterator[Box]:
    """Return a booted Debian 12 with hookd and Bacula, both running."""
    packages = [*(f"python3-{name}" for name in PACKAGES), *(f"bacula-{name}" for name in BACULA)]
    with Box(debian("bookworm", [*BASE, *TOOLS, *packages])) as box:
        set_up(box, wheels)
        box.write("/usr/local/libexec/hookd/bacula", BRIDGE.read_text(), "0755")
        director = DIRECTOR.replace("@scripts@", scripts())
        for name, text in (("dir", director), ("sd", STORAGE), ("fd", FILES)):
            box.write(f"/etc/bacula/bacula-{name}.conf", text)
        box.write("/etc/bacula/bconsole.conf", CONSOLE)
        box.run("mkdir -p /srv/documents /srv/vault && chown bacula /srv/vault")
        box.run("head -c 100000 /dev/urandom >/srv/documents/a")
        box.run("usermod --append --groups hookd bacula")
        box.run("systemctl restart bacula-director bacula-sd bacula-fd")
        yield box


def back_up(box: Box) -> dict[str, Any]:
    """Have Bacula back up; return what hookd knows of the newest job, what Bacula said in it."""
    said = box.read("bconsole", stdin="run job=documents yes\nwait\nmessages\n", seconds=120)
    (job,) = json.loads(box.read("hookctl --json jobs --limit 1"))["jobs"]
    return {**job, "said": said}


def test_bacula(bacula: Box) -> None:
    job = back_up(bacula)
    assert (job["profile"], job["state"], job["outcome"]) == ("documents", "ended", "success"), job
    assert job["attributes"] == {"level": "Full"}
    assert job["file_count"] > 0
    assert job["byte_count"] >= 100_000


def test_a_refused_bacula(bacula: Box) -> None:
    gate = "/usr/local/libexec/gate"
    bacula.write(gate, "#!/bin/sh\necho the tape is full\nexit 1\n", "0755")
    hook = f'command = "{gate}"\nkind = "gate"\nphases = ["start"]\n'
    bacula.write("/etc/hookd/hooks.d/gate.toml", hook)
    bacula.run("hookctl reload")
    job = back_up(bacula)
    assert job["state"] == "refused", job
    assert "the tape is full" in job["said"]
    assert "Backup Error" in job["said"] or "Fatal error" in job["said"]
