# SPDX-License-Identifier: LGPL-2.1-or-later
"""Carries out runs: from an event to the runner, and from a result to the disk."""
