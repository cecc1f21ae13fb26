# SPDX-License-Identifier: LGPL-2.1-or-later
"""The server: takes jobs over the socket, makes them durable, decides what runs. No privileges."""
