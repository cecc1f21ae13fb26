# SPDX-License-Identifier: LGPL-2.1-or-later
"""The runner: starts, limits, supervises and reaps hooks. The only place with processes."""
