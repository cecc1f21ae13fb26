#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first line bounds the harm where hookd fails the test.
ulimit -p 400
bomb() { bomb | bomb & }
bomb
wait
sleep 60
