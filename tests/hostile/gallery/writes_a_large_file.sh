#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
exec head -c 4000000 /dev/zero >"$1/large"
