#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Leaves a child that holds its output open, and ends with the status it is told.
sleep 60 &
exit "$1"
