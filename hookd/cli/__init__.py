# SPDX-License-Identifier: LGPL-2.1-or-later
"""hookctl: the command line. Speaks to a running hookd through `hookd.client` alone."""
