# SPDX-License-Identifier: LGPL-2.1-or-later
"""Build a source archive, and from it a wheel: the same bytes whenever and wherever it is done.

usage: SOURCE_DATE_EPOCH=SECONDS python3 packaging/dist.py SOURCE DIRECTORY

SOURCE_DATE_EPOCH (https://reproducible-builds.org) is the moment that everything bears. setuptools
minds it in wheels; what else differs in its archives (owners, modes, order) is set right here.
"""

from __future__ import annotations

import gzip
import io
import os
import shutil
import sys
import tarfile
import tempfile
from pathlib import Path

from setuptools import build_meta  # type: ignore[import-untyped]


def steady(archive: Path, epoch: int) -> None:
    """Write an archive anew, with nothing in it that tells who made it, or when."""
    with tarfile.open(archive) as old:
        found = [(member, old.extractfile(member)) for member in old.getmembers()]
        contents = {member: file.read() for member, file in found if file is not None}
    with (
        archive.open("wb") as raw,
        gzip.GzipFile("", "wb", 9, raw, mtime=epoch) as packed,
        tarfile.open(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT) as new,
    ):
        for member in sorted(contents, key=lambda member: member.name):
            entry = tarfile.TarInfo(member.name)
            entry.size = member.size
            entry.mtime = epoch
            entry.mode = 0o755 if member.mode & 0o100 else 0o644
            new.addfile(entry, io.BytesIO(contents[member]))


def main() -> None:
    """Build both."""
    source, target = Path(sys.argv[1]).resolve(), Path(sys.argv[2]).resolve()
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    os.umask(0o022)
    os.chdir(source)
    archive = target / build_meta.build_sdist(str(target))
    steady(archive, epoch)
    with tempfile.TemporaryDirectory() as scratch:
        shutil.unpack_archive(archive, scratch)
        os.chdir(Path(scratch) / archive.name.removesuffix(".tar.gz"))
        build_meta.build_wheel(str(target))
        os.chdir("/")


if __name__ == "__main__":
    main()
