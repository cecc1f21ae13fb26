#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Prints so many bytes of lines.
yes 'all work and no play' | head -c "$1"
