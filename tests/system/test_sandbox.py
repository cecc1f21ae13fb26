# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the units forbid, and what hooks can do all the same; how exposed each service is."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.box import Box
from tests.support.machine import TREE, debian
from tests.system.conftest import BASE, TOOLS, depends, install
from tests.system.test_service import hook, results, start

DROP_INS = "/usr/share/doc/hookd/examples/drop-ins"
CHOSEN = "/etc/systemd/system/hookd-runner.service.d"
TABLE = TREE / "docs/exposure.md"

# What typical hooks do: the user, the command, and what then must be true.
CASES = {
    "mail": (
        "hookd-hooks",
        "/bin/sh -c 'printf \"Subject: done\\n\\n$PROFILE\\n\" | /usr/sbin/sendmail root'",
        "timeout 10 sh -c 'until grep -q ^mail$ /var/mail/root; do sleep 0.1; done'",
    ),
    "http": (
        "hookd-hooks",
        "/usr/bin/curl -fsS -o /tmp/page http://127.0.0.1:8000/",
        "test -s /tmp/page",
    ),
    "database": (
        "hookd-hooks",
        "/usr/bin/redis-cli -s /run/redis/redis-server.sock set last $PROFILE",
        'test "$(redis-cli -s /run/redis/redis-server.sock get last)" = database',
    ),
    "service": (
        "root",
        "/bin/sh -c 'systemctl stop page && systemctl start page'",
        "systemctl is-active page",
    ),
    "mount": (
        "root",
        "/bin/mount -t tmpfs snapshot /mnt",
        "findmnt -n -o SOURCE /mnt | grep -q snapshot && umount /mnt",
    ),
    "copy": (
        "root",
        "/bin/sh -c 'cp -a /usr/bin/sudo /root/copied && tar -C /usr/bin -cf - sudo | "
        "tar -C /root -xpf -'",
        'test -u /root/copied && test -u /root/sudo && test "$(stat -c %a /root/sudo)" = 4755',
    ),
    "sudo": (
        "hookd-hooks",
        "/usr/bin/sudo -n /usr/bin/touch /root/by-sudo",
        "test -e /root/by-sudo",
    ),
}


@pytest.fixture(scope="module")
def busy(deb: Path) -> Iterator[Box]:
    """A box with what typical hooks speak to: mail, a web server, a database, sudo."""
    tools = ["dma", "redis-server", "sudo"]
    with Box(debian("trixie", [*BASE, *TOOLS, *tools, *depends(deb)])) as box:
        install(box, deb)
        page = "[Service]\nExecStart=/usr/bin/python3 -m http.server --bind 127.0.0.1 8000\n"
        box.write("/etc/systemd/system/page.service", page)
        box.write("/etc/sudoers.d/hooks", "hookd-hooks ALL=(root) NOPASSWD: /usr/bin/touch\n")
        socket = "unixsocket /run/redis/redis-server.sock\\nunixsocketperm 777\\n"
        box.run(f"printf '{socket}' >>/etc/redis/redis.conf && systemctl restart redis-server")
        box.run("systemctl start page")
        box.until(lambda: box.run("curl -fs http://127.0.0.1:8000/", check=False).status == 0)
        yield box


@pytest.mark.parametrize("case", CASES)
def test_a_typical_hook_works_as_the_package_is(busy: Box, case: str) -> None:
    user, command, then = CASES[case]
    # dma's sendmail delivers in the background, after its own end.
    run = f'[run]\nuser = "{user}"\nleftovers = "warn"\n'
    hook(busy, case, command, f'{run}[match]\nprofile = "{case}"\n')
    job = start(busy, case, "--wait")
    assert results(busy, job) == {case: "success"}, busy.read(f"hookctl job {job}")
    busy.run(then)


def test_what_no_hook_can_do(busy: Box) -> None:
    forbidden = "/usr/bin/unshare --net /bin/true"
    hook(busy, "namespace", forbidden, '[run]\nuser = "root"\n[match]\nprofile = "namespace"\n')
    assert busy.run(forbidden).status == 0
    job = busy.run(
        "hookctl start --profile namespace --user u --client-ip 192.0.2.1 --wait", check=False
    )
    assert "Operation not permitted" in busy.read(f"hookctl job {job.stdout.strip()}")


def chosen(box: Box, drop_in: str | None) -> None:
    """Restart the runner with one of the shipped drop-ins, or with none."""
    box.run(f"rm -rf {CHOSEN} /etc/hookd/hooks.d/*.toml && mkdir {CHOSEN}")
    if drop_in:
        box.run(f"cp {DROP_INS}/{drop_in}.conf {CHOSEN}/")
    box.run("systemctl daemon-reload && systemctl restart hookd-runner.service hookd.service")


def test_the_tight_runner_runs_hooks_that_need_nothing(busy: Box) -> None:
    chosen(busy, "runner-tight")
    command = "/bin/sh -c 'id -un; touch /var/lib/hookd-hooks/x && ! touch /etc/x /home/x 2>&1'"
    hook(busy, "modest", command)
    job = start(busy, "any", "--wait")
    assert results(busy, job) == {"modest": "success"}
    (line, *_) = busy.records("-t modest", f"HOOKD_JOB_ID={job}")
    assert line["MESSAGE"] == "hookd-hooks"
    busy.write("/etc/hookd/hooks.d/other.toml", 'command = "/bin/true"\nrun.user = "root"\n')
    refused = busy.run("hookctl reload", check=False)
    assert refused.status == 1
    assert "run.user" in refused.stderr


def test_the_wide_runner_forbids_nothing(busy: Box) -> None:
    chosen(busy, "runner-wide")
    hook(busy, "namespace", "/usr/bin/unshare --net /bin/true", '[run]\nuser = "root"\n')
    assert results(busy, start(busy, "any", "--wait")) == {"namespace": "success"}


def exposure(box: Box, unit: str) -> float:
    """Return systemd's own score of a unit that is loaded: 10 is no protection at all."""
    line = box.read(f"systemd-analyze security --no-pager {unit} | tail -n 1")
    return float(line.partition(f"{unit}: ")[2].split()[0])


def test_exposure(busy: Box) -> None:
    scores = {}
    for drop_in in ("runner-wide", "runner-tight", None):
        chosen(busy, drop_in)
        scores[drop_in or "as packaged"] = exposure(busy, "hookd-runner.service")
    server = exposure(busy, "hookd.service")
    assert server <= 1.0
    assert scores["runner-tight"] <= 2.2
    rows = [("hookd.service", "as packaged", server)]
    rows += [("hookd-runner.service", name, score) for name, score in reversed(scores.items())]
    for other in ("redis-server", "systemd-logind", "dbus", "getty@tty1"):
        rows.append((f"{other}.service", "Debian's", exposure(busy, f"{other}.service")))
    table = "".join(f"| {unit} | {how} | {score} |\n" for unit, how, score in rows)
    if os.environ.get("UPDATE"):
        head = TABLE.read_text().partition("| ---")[0]
        TABLE.write_text(f"{head}| --- | --- | --- |\n{table}")
    assert TABLE.read_text().endswith(f"| --- | --- | --- |\n{table}")
