# SPDX-License-Identifier: LGPL-2.1-or-later
"""The file of results that no server has taken."""

from __future__ import annotations

from pathlib import Path

import pytest

from hookd.model import Receipt, Result
from hookd.runner import undelivered

RECEIPT = Receipt(result=Result.FAILED, exit_status=7, ended_usec=1, last_line="no room")


def test_what_was_kept_is_found(tmp_path: Path) -> None:
    file = tmp_path / "untaken"
    undelivered.save(file, {3: RECEIPT, 2**62: RECEIPT})
    assert undelivered.load(file) == {3: RECEIPT, 2**62: RECEIPT}
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["untaken"]


def test_nothing_to_keep_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "untaken"
    undelivered.save(file, {3: RECEIPT})
    undelivered.save(file, {})
    assert list(tmp_path.iterdir()) == []
    assert undelivered.load(file) == {}


def test_a_file_that_others_could_have_written_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "untaken"
    undelivered.save(file, {3: RECEIPT})
    file.chmod(0o606)
    with pytest.raises(ValueError, match="writable by everybody"):
        undelivered.load(file)


@pytest.mark.parametrize("content", [b"", b"\x00", b"\x81\x03\x01", b"{}"])
def test_another_file_is_refused(tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "untaken"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"\w"):
        undelivered.load(file)
