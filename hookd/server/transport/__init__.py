# SPDX-License-Identifier: LGPL-2.1-or-later
"""Connections: bytes in, Varlink calls out, and what bounds both. Knows no method."""
