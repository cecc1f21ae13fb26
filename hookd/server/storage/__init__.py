# SPDX-License-Identifier: LGPL-2.1-or-later
"""The database: its threads, tables, states and queries. Knows no policy."""
