# SPDX-License-Identifier: LGPL-2.1-or-later
"""Attacks on the socket: an innocent client beside each is served, and hookd stays as it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.attack.conftest import million_jobs
from tests.attack.scene import Outcome, Scene
from tests.attack.weapons import WEAPONS

pytestmark = pytest.mark.attack

NEEDS_JOBS = "expensive_queries"


@pytest.mark.parametrize("weapon", [name for name in WEAPONS if name != NEEDS_JOBS])
def test_attack(scene: Scene, suffered: list[Outcome], weapon: str) -> None:
    suffered.append(scene.attack(weapon))


class TestBesideAMillionJobs:
    """What looks through all of them."""

    @pytest.fixture
    def prepared(self, scratch: Path) -> Path:
        """Return the directory of a daemon with a long history."""
        million_jobs(scratch)
        return scratch

    def test_attack(self, scene: Scene, suffered: list[Outcome]) -> None:
        suffered.append(scene.attack(NEEDS_JOBS))
