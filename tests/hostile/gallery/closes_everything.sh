#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
exec <&- >&- 2>&-
sleep 0.3
exit 0
