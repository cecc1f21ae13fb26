# SPDX-License-Identifier: LGPL-2.1-or-later
"""One run: from its order to its result."""
