# SPDX-License-Identifier: LGPL-2.1-or-later
"""The configuration: its options, how it is found, read and checked."""
