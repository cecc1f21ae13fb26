# SPDX-License-Identifier: LGPL-2.1-or-later
"""The users whose processes may be the server: root, the runner's own, and the socket's owner."""

from __future__ import annotations

import asyncio
import os
import pwd
import subprocess
from pathlib import Path

import pytest

from hookd.link import Message, Reloaded
from hookd.runner.server_link import ServerLink
from hookd.system.sockets import bind

CONNECT = """
import socket, sys
with socket.socket(socket.AF_UNIX) as sock:
    sock.connect(sys.argv[1])
    print(len(sock.recv(1 << 16)))
"""


def received(path: Path, complaints: list[str], account: str) -> int:
    """Return how many bytes a process of this user receives on the runner's socket."""

    async def serve() -> int:
        welcome: list[Message] = [Reloaded("digest", [], [])]
        link = ServerLink(lambda: welcome, lambda _: None, lambda *_: None, complaints.append)
        listener = bind(path, 0o666)
        os.chown(path, pwd.getpwnam("nobody").pw_uid, -1)
        serving = asyncio.ensure_future(link.listen(listener))
        client = await asyncio.create_subprocess_exec(
            *("/usr/bin/python3", "-c", CONNECT, str(path)),
            stdout=subprocess.PIPE,
            user=account,
        )
        output, _ = await asyncio.wait_for(client.communicate(), 20)
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)
        listener.close()
        return int(output)

    return asyncio.run(serve())


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives a socket to another user")
def test_the_owner_of_the_socket_is_served_and_no_other_user(scratch: Path) -> None:
    complaints: list[str] = []
    path = scratch / "runner.sock"
    scratch.chmod(0o755)
    assert received(path, complaints, "nobody") > 0
    assert complaints == []
    assert received(path, complaints, "daemon") == 0
    uid = pwd.getpwnam("daemon").pw_uid
    assert complaints == [f"a process of uid {uid} may not use the runner's socket"]
