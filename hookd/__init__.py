# SPDX-License-Identifier: LGPL-2.1-or-later
"""What all parts of hookd share: values, errors, the messages of the link, and the client."""

__version__ = "0.1.0"
