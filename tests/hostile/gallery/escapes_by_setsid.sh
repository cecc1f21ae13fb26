#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Leaves a child in a session of its own.
setsid sleep 60 &
exit 0
