#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints so many bytes without an end of line, on stderr.
head -c "$1" /dev/zero >&2
