# SPDX-License-Identifier: LGPL-2.1-or-later
"""Processes: launchers, control groups, accounts, and everything below a launcher."""
