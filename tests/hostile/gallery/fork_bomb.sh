#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# The first line bounds the harm where hookd fails the test.
# shellcheck disable=SC2264,SC3045  # that it calls itself is the point; dash knows -p
ulimit -p 400
bomb() { bomb | bomb & }
bomb
wait
sleep 60
