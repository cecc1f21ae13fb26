# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner: starts, limits, supervises and reaps hook programs. The only place with processes."""
