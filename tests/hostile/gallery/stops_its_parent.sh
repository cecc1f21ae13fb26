#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Stops the process that started it, and that one's group.
kill -STOP "-$PPID"
kill -STOP "$PPID"
exec sleep 60
