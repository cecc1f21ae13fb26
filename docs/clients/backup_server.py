#!/usr/bin/python3
# SPDX-License-Identifier: LGPL-2.1-or-later
"""An example client for backup servers in Python; README.md describes its arguments."""

import sys

from hookd.client import Client
from hookd.errors import HookdError


def main(path: str, call: str, *values: str) -> int:
    """Start or end one job."""
    with Client(path) as hookd:
        if call == "end":
            job_id, file_count, byte_count, outcome = values
            hookd.end_job(
                int(job_id),
                file_count=int(file_count),
                byte_count=int(byte_count),
                outcome=outcome,
            )
            return 0
        profile, user, client_ip, build = values
        answer = hookd.start_job(
            profile=profile, user=user, client_ip=client_ip, client_build_no=build
        )
    if not answer.allowed:
        print(f"refused: {answer.reason}", file=sys.stderr)
        return 75
    print(answer.job_id)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (HookdError, OSError) as error:
        sys.exit(str(error))
