# SPDX-License-Identifier: LGPL-2.1-or-later
"""What both processes ask of the system: journal, sockets, service manager, memory, trust."""
