# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all runs share, made once; it knows no run."""

from __future__ import annotations

import msgspec

from hookd import trust
from hookd.journal import Journal
from hookd.lookups import Lookups
from hookd.runner.accounts import Book
from hookd.runner.cgroup import Groups
from hookd.runner.hookfile import Checker
from hookd.runner.orphans import Orphans
from hookd.runner.prepare import Preparations
from hookd.runner.slices import Slices
from hookd.runner.spawn import Pool
from hookd.runner.termination import Survivors
from hookd.runner.watch import Watch


class Tools(msgspec.Struct, frozen=True):
    """Launchers, and what looks after the processes below them."""

    pool: Pool
    slices: Slices
    orphans: Orphans
    survivors: Survivors
    watch: Watch
    journal: Journal
    preparations: Preparations

    @classmethod
    def of(cls, groups: Groups | None, journal: Journal) -> Tools:
        """Return what runs need where these control groups are delegated."""
        pool, slices = Pool(groups), Slices()
        orphans = Orphans(pool, slices)
        survivors = Survivors(pool, slices, orphans)
        preparations = Preparations(Lookups(), Checker(trust.trusted_uids()), Book())
        return cls(pool, slices, orphans, survivors, Watch(slices), journal, preparations)

    def close(self) -> None:
        """End all launchers, with all they have; what is looked at is left to itself."""
        self.preparations.lookups.close()
        self.watch.close()
        self.survivors.close()
        self.orphans.close()
        self.pool.close()
