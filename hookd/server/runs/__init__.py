# SPDX-License-Identifier: LGPL-2.1-or-later
"""Runs in memory: their phases, what may start next, and what their ends lead to."""
