# SPDX-License-Identifier: LGPL-2.1-or-later
"""The methods of the Varlink interfaces: who may call them, and what they do."""
