# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookd runs hook scripts on the events of backup jobs: durable, limited, and on record."""

__version__ = "0.1.0"
