#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Leaves a grandchild whose parent is dead: a daemon, as the books say it is made.
(setsid sleep 60 >/dev/null 2>&1 </dev/null &)
exit 0
