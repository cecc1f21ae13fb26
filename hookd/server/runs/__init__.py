# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs in memory: their phases, which may start next, and what follows from their ends."""
