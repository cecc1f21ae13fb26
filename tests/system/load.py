# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs inside a booted system: many clients at once, each job after job; prints the job IDs.

usage: load.py CLIENTS JOBS-OF-EACH PROFILE [STOP-FILE]

With a STOP-FILE each goes on after its JOBS until that file is there. A request that fails ends
the program with its error.
"""

import itertools
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from hookd.client import Client

clients, jobs, profile, *stop = sys.argv[1:]


def work(_: int) -> list[int]:
    """Be one client, with a connection for each job, as backup scripts have."""
    made: list[int] = []
    for number in itertools.count():
        if number >= int(jobs) and (not stop or Path(stop[0]).exists()):
            return made
        with Client(timeout=60) as client:
            started = client.start_job(
                profile=profile, user="u", client_ip="192.0.2.1", wait=not stop
            )
            client.end_job(started.job_id, file_count=1, byte_count=1)
        made.append(started.job_id)
    return made


with ThreadPoolExecutor(int(clients)) as pool:
    print(json.dumps(sorted(itertools.chain(*pool.map(work, range(int(clients)))))))
