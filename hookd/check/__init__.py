# SPDX-License-Identifier: LGPL-2.1-or-later
"""What both processes would say to a configuration: the one place that knows both."""
