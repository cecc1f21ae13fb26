# SPDX-License-Identifier: LGPL-2.1-or-later
"""The way of runs: from an event to the runner, and from their results to the disk."""
