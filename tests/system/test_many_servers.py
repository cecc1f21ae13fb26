# SPDX-License-Identifier: LGPL-2.1-or-later
"""What docs/many-servers.md says, with the programs that it names."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import debian
from tests.system.conftest import BASE, TOOLS, depends, install

GATHERED = "journalctl -q -o cat --directory=/var/log/journal/remote"
TEXTFILE = "/var/lib/prometheus/node-exporter/hookd.prom"
GATHERERS = ["prometheus-node-exporter", "systemd-journal-remote"]


@pytest.fixture(scope="module")
def gathering(deb: Path) -> Iterator[Box]:
    """Return a booted Debian 13 with hookd and the programs that gather; a job has run there."""
    with Box(debian("trixie", [*BASE, *TOOLS, *depends(deb), *GATHERERS])) as box:
        install(box, deb)
        box.write("/etc/hookd/hooks.d/note.toml", 'command = "/bin/echo hello"\n')
        box.run("hookctl reload")
        for profile in ("documents", "photos"):
            box.run(f"hookctl start --profile {profile} --client-ip ::1 --wait")
        yield box


def test_records_are_gathered_over_http(gathering: Box) -> None:
    box = gathering
    box.write("/etc/systemd/journal-upload.conf", "[Upload]\nURL=http://localhost:19532\n")
    plain = "[Service]\nExecStart=\nExecStart=/usr/lib/systemd/systemd-journal-remote "
    plain += "--listen-http=-3 --output=/var/log/journal/remote/\n"
    box.write("/etc/systemd/system/systemd-journal-remote.service.d/plain.conf", plain)
    box.run("systemctl daemon-reload")
    box.run("systemctl start systemd-journal-remote.socket systemd-journal-upload.service")
    box.until(lambda: "hello" in box.read(f"{GATHERED} HOOKD_STREAM=stdout", check=False))
    found = box.read(f"{GATHERED} HOOKD_PROFILE=documents")
    assert "job 1 started" in found
    assert "job 2 started" not in found
    host = box.read("hostname")
    assert "job 2 started" in box.read(f"{GATHERED} _HOSTNAME={host} HOOKD_PROFILE=photos")


def test_figures_are_gathered_by_node_exporter(gathering: Box) -> None:
    box = gathering
    box.run("cp /usr/share/doc/hookd/examples/metrics/* /etc/systemd/system/")
    box.run("systemctl daemon-reload && systemctl enable --now hookd-metrics.timer")
    box.until(lambda: box.run(f"test -s {TEXTFILE}", check=False).status == 0)
    assert box.read(f"stat -c %a {TEXTFILE}") == "644"
    box.run("systemctl restart prometheus-node-exporter")
    box.until(lambda: box.run("curl -s localhost:9100/", check=False).status == 0)
    figures = box.read("curl -s localhost:9100/metrics")
    assert "node_textfile_scrape_error 0" in figures
    lines = figures.splitlines()
    assert "hookd_jobs_started_total 2" in lines
    assert 'hookd_runs_total{hook="note",phase="start",result="success"} 2' in lines
    assert any(line.startswith("hookd_healthy 1") for line in lines)
