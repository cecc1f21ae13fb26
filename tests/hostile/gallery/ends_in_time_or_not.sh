#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
exec sleep 0.05
