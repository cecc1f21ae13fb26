#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
trap '' TERM HUP INT
while :; do sleep 1; done
