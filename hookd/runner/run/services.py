# SPDX-License-Identifier: LGPL-2.1-or-later
"""The objects that all runs share. They are made once, and this module knows no run."""

from __future__ import annotations

import msgspec

from hookd.runner.launch.accounts import AccountCache
from hookd.runner.launch.cgroup import Groups
from hookd.runner.launch.orphans import Orphans
from hookd.runner.launch.pool import Pool
from hookd.runner.launch.slices import Slices
from hookd.runner.run.limit_poller import LimitPoller
from hookd.runner.run.program_check import Checker
from hookd.runner.run.resolver import Resolver
from hookd.runner.run.termination import Survivors
from hookd.system import trust
from hookd.system.journal import Journal
from hookd.system.lookups import Lookups


class Services(msgspec.Struct, frozen=True):
    """The launchers, and the objects that supervise the processes below them."""

    pool: Pool
    slices: Slices
    orphans: Orphans
    survivors: Survivors
    limit_poller: LimitPoller
    journal: Journal
    resolver: Resolver

    @classmethod
    def of(cls, groups: Groups | None, journal: Journal) -> Services:
        """Return the services for these delegated control groups, None if there are none."""
        pool, slices = Pool(groups), Slices()
        orphans = Orphans(pool, slices)
        survivors = Survivors(pool, slices, orphans)
        resolver = Resolver(Lookups(), Checker(trust.trusted_uids()), AccountCache())
        return cls(pool, slices, orphans, survivors, LimitPoller(slices), journal, resolver)

    def close(self) -> None:
        """End all launchers and the processes below them; do not wait for open look-ups."""
        self.resolver.lookups.close()
        self.limit_poller.close()
        self.survivors.close()
        self.orphans.close()
        self.pool.close()
