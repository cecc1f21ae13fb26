# SPDX-License-Identifier: LGPL-2.1-or-later
"""Server and runner are killed at random moments and at every step; then the books are checked."""

from __future__ import annotations

import os
import random
import time
from collections import Counter
from typing import Any

import pytest

from tests.crash import audit
from tests.crash.faultpoint import COMMIT_STEPS, RUNNER_STEPS, SERVER_STEPS
from tests.crash.scene import Scene
from tests.crash.traffic import Traffic
from tests.support.records import Records

ROUNDS = int(os.environ.get("ROUNDS", "50"))
SEED = int(os.environ.get("SEED") or time.time_ns() % 1_000_000)
CLIENTS = 8
STEPS = {"server": [*COMMIT_STEPS, *SERVER_STEPS], "runner": list(RUNNER_STEPS)}
VICTIMS = ("server", "server", "runner", "both")
HOOKS_OF = {"start": ["quick", "slow", "fails", "serial"], "end": ["quick", "serial"]}
INTERRUPTED = "SELECT count(*) FROM runs WHERE result = 'interrupted'"


class Rounds:
    """Kills, counted by step, and the interruptions of rounds that killed the server alone."""

    def __init__(self, scene: Scene) -> None:
        self.kills: Counter[str] = Counter()
        self.interrupted: list[str] = []
        self.moments: list[float] = []
        self._scene = scene
        self._chance = random.Random(SEED)
        self._victims = [VICTIMS[n % len(VICTIMS)] for n in range(ROUNDS)]
        self._steps = {who: [s for _ in range(ROUNDS) for s in STEPS[who]] for who in STEPS}

    def run(self) -> None:
        """Kill so many times, and see each time that all goes on."""
        for victim in self._victims:
            before = self._scene.query(INTERRUPTED)
            step = self._kill(victim)
            self.moments.append(time.monotonic())
            self._scene.start("runner", "server")
            self._scene.settled()
            if victim == "server" and self._scene.query(INTERRUPTED) != before:
                self.interrupted.append(step)

    def _kill(self, victim: str) -> str:
        chance, scene = self._chance, self._scene
        everyone = ("server", "runner") if victim == "both" else (victim,)
        first = chance.choice(everyone)
        if chance.random() < 0.3:
            time.sleep(chance.random() / 2)  # the random moment
            scene.kill(*everyone)
            self.kills[f"{victim}: at a random moment"] += 1
            return "a random moment"
        step = self._steps[first].pop(0)
        reached = scene.kill_at(first, step, chance)
        scene.kill(*(other for other in everyone if other != first))
        self.kills[f"{victim}: {step}" + ("" if reached else " (not reached)")] += 1
        return step


@pytest.mark.crash
@pytest.mark.timeout(60 + 15 * ROUNDS)
def test_nothing_accepted_is_lost_whatever_is_killed(scene: Scene) -> None:
    records = Records()
    scene.start("runner", "server")
    scene.settled()
    traffic = Traffic(scene.socket, CLIENTS, SEED)
    rounds = Rounds(scene)
    try:
        rounds.run()
    finally:
        traffic.finish()
        scene.idle()
        scene.stop()
    side = audit.side_file(scene.side)
    found: dict[str, list[Any]] = {
        "acknowledged events unknown": audit.unknown(traffic.answers, scene.database),
        "IDs repeated or descending": audit.repeated_or_descending(traffic.answers),
        "(job, phase, hook, attempt) started twice": audit.started_twice(side),
        "runs without a result": audit.without_result(scene.database, HOOKS_OF),
        "results of programs that never ran": audit.untrue_results(scene.database, side),
        "results and events that the journal lacks": audit.unreported(
            traffic.answers, scene.database, records, rounds.moments
        ),
        "processes left": scene.left(),
        "runs interrupted in rounds that killed only the server": rounds.interrupted,
        "requests refused": traffic.errors,
    }
    ((interrupted,),) = scene.query(INTERRUPTED)
    print(f"\n{ROUNDS} rounds, seed {SEED}, {len(traffic.answers)} events acknowledged,")
    print(f"{sum(a.duplicate for a in traffic.answers)} of them as duplicates; "
          f"{len(side)} runs started, {interrupted} interrupted")  # fmt: skip
    for kill, times in sorted(rounds.kills.items()):
        print(f"  {times:4} killed  {kill}")
    for what, cases in found.items():
        print(f"  {len(cases):4} {what}")
    assert {what: cases[:5] for what, cases in found.items() if cases} == {}
