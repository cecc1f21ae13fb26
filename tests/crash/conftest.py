# SPDX-License-Identifier: LGPL-2.1-or-later
"""The scene of the kills, cleared afterwards whatever the test has found."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.crash.scene import Scene
from tests.support.daemon import Daemon


@pytest.fixture
def scene(daemon: Daemon) -> Iterator[Scene]:
    """Return a server and a runner that do not run yet."""
    scene = Scene(daemon)
    yield scene
    scene.clear()
    scene.close()
