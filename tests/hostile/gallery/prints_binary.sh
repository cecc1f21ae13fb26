#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
head -c 100000 /dev/urandom
printf '\n\377\376 no text \033[31m\r\n'
