# SPDX-License-Identifier: LGPL-2.1-or-later
"""The jobs of a daemon that tests share."""

from __future__ import annotations

from hookd.model import Job
from tests.support.daemon import Daemon


def last_job(daemon: Daemon) -> int:
    """Return the ID of a job that is the last so far: those of a test follow it."""
    with daemon.client() as hookd:
        return hookd.start_job(profile="before", user="", client_ip="::1").job_id


def job(daemon: Daemon, job_id: int) -> Job:
    """Return what hookd knows of a job."""
    with daemon.client() as hookd:
        return hookd.get_job(job_id)
