# SPDX-License-Identifier: LGPL-2.1-or-later
"""Listening sockets and their peers: what both processes ask of the kernel and of systemd."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from pathlib import Path

from systemd.daemon import listen_fds_with_names

from hookd.system import trust

BACKLOG = 4096  # connections that the kernel queues while hookd is busy or restarts

LISTEN = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")
"""The variables that describe the sockets passed by systemd: see sd_listen_fds(3)."""

_UCRED = struct.Struct("iII")  # struct ucred, unix(7)
_SO_PEERGROUPS = 59  # asm-generic/socket.h, Linux 4.13; Python has no name for it
_MAX_OPTION = 1024  # bytes, so 256 groups: the most that Python's getsockopt asks for


def bind(path: Path, mode: int, gid: int = -1) -> socket.socket:
    """Return a socket that listens at a path; it replaces a socket there that nobody answers.

    It listens at once, so that no client is refused while hookd starts. Until the socket has its
    owner and mode, the umask of both processes, 077, denies access to others. Raises OSError if
    another program answers there, if the directory is not writable, if another user could replace
    the socket, or if the path is not a socket.
    """
    try:
        trust.check(path.parent)
    except trust.PathError as e:
        raise OSError(errno.EPERM, f"its directory: {e}", str(path)) from None
    if path.is_symlink() or (path.exists() and not path.is_socket()):
        raise OSError(errno.EEXIST, "something else than a socket is there", str(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        if _answers(path):
            raise OSError(errno.EADDRINUSE, "another program answers there", str(path))
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        sock.bind(str(path))
        os.chown(path, -1, gid)
        path.chmod(mode)
        sock.listen(BACKLOG)
    except BaseException:
        sock.close()
        raise
    return sock


def _answers(path: Path) -> bool:
    if not path.is_socket():
        return False
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(str(path))
        except BlockingIOError:
            return True  # its backlog is full: a program listens
        except OSError:
            return False
        return True


def activated(name: str) -> socket.socket | None:
    """Return the socket of this name that systemd has passed; None if there is none.

    See sd_listen_fds_with_names(3). A single socket may have any name, as with
    systemd-socket-activate(1). The variables are removed, so that no child sees them. Raises
    OSError if they are wrong.
    """
    try:
        handed = listen_fds_with_names()
    except OSError as e:
        told = {variable: os.environ.get(variable) for variable in LISTEN}
        raise OSError(e.errno, f"found {told}; allowed: what sd_listen_fds(3) reads") from None
    for variable in LISTEN:
        os.environ.pop(variable, None)  # the library has removed them only from the C library
    for fd, its_name in handed.items():
        if its_name == name or len(handed) == 1:
            return socket.socket(fileno=fd)
    return None


def credentials(sock: socket.socket) -> tuple[int, int, frozenset[int]]:
    """Return a peer's pid, uid and groups (with the supplementary ones), from the kernel."""
    pid, uid, gid = _UCRED.unpack(
        sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _UCRED.size)
    )
    try:
        raw = sock.getsockopt(socket.SOL_SOCKET, _SO_PEERGROUPS, _MAX_OPTION)
    except OSError:
        raw = b""
    groups = struct.unpack(f"{len(raw) // 4}I", raw)
    return pid, uid, frozenset((gid, *groups))
