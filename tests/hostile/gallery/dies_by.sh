#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
kill "-$1" $$
sleep 60
