# SPDX-License-Identifier: LGPL-2.1-or-later
"""A program: mounts FUSE file systems that never answer, in a mount namespace of its own.

Each line on standard input is a directory to mount one over; "ok" is printed when that is done.
The root directory of such a file system can be looked at, and that is all: whoever looks for
anything in it waits until this program ends, or is killed. See fuse(4).
"""

from __future__ import annotations

import ctypes
import os
import select
import struct
import sys
import threading

CLONE_NEWNS, MS_REC, MS_PRIVATE = 0x20000, 0x4000, 1 << 18  # unshare(2), mount(2)
GETATTR, INIT = 3, 26
IN_HEADER = struct.Struct("=IIQQIIII")
OUT_HEADER = struct.Struct("=IiQ")
INIT_OUT = struct.Struct("=IIIIHHIIHHI28x")
ATTR_OUT = struct.Struct("=QII6Q10I")
ROOT = 1
HOUR = 3600

_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: object) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")


def _mount(directory: str) -> int:
    """Mount one; what is asked of it later is not even read, so that a killed process is gone.

    (What has been read must be answered before who asked can die: see fuse_dev in the kernel.)
    """
    fd = os.open("/dev/fuse", os.O_RDWR)
    options = f"fd={fd},rootmode=40000,user_id=0,group_id=0,allow_other".encode()
    _call("mount", b"hanging", os.fsencode(directory), b"fuse", 0, options)
    looking = threading.Thread(target=os.stat, args=(directory,))
    looking.start()
    while looking.is_alive():  # which the kernel knows for an hour, then
        _answer(fd)
        looking.join(0.05)
    return fd


def _answer(fd: int) -> None:
    """Answer the first questions: what kind of file system it is, and what its root is."""
    if not select.select([fd], [], [], 0.05)[0]:
        return
    data = os.read(fd, 1 << 17)
    _, opcode, unique, node, *_ = IN_HEADER.unpack_from(data)
    if opcode == INIT:
        body = INIT_OUT.pack(7, 31, 4096, 0, 12, 9, 4096, 1, 0, 0, 0)
    else:
        assert (opcode, node) == (GETATTR, ROOT)
        times = (0, 0, 0)
        body = ATTR_OUT.pack(HOUR, 0, 0, ROOT, 0, 0, *times, *times, 0o40755, 2, 0, 0, 0, 512, 0)
    os.write(fd, OUT_HEADER.pack(OUT_HEADER.size + len(body), 0, unique) + body)


def main() -> None:
    """Mount what is asked for, until standard input ends."""
    _call("unshare", CLONE_NEWNS)
    _call("mount", b"none", b"/", None, MS_REC | MS_PRIVATE, None)
    print("ok", flush=True)
    mounted = []
    for line in sys.stdin:
        mounted.append(_mount(line.rstrip("\n")))
        print("ok", flush=True)


if __name__ == "__main__":
    main()
