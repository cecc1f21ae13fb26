#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Kills the process that started it, with a child of its own on the run.
setsid sleep 60 &
kill -KILL "$PPID"
exec sleep 60
