#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# An example client for systems without hookctl; README.md describes its arguments.
set -eu

# quoted TEXT: TEXT as a JSON string; control characters become spaces.
quoted() {
    printf '"%s"' "$(printf %s "$1" | tr '\001-\037' ' ' | sed 's/[\\"]/\\&/g')"
}

# call METHOD PARAMETERS: send the request, again if the connection was lost, and set $answer.
# socat waits 0.5 s for a reply unless -t is given; a gate hook may take longer.
call() {
    for try in 1 2 3; do
        answer=$(printf '{"method":"io.hookd.Jobs.%s","parameters":{%s,"request_id":"%s"}}\0' \
            "$1" "$2" "$request_id" | socat -t 3600 - "UNIX-CONNECT:$socket" | tr -d '\0')
        [ -z "$answer" ] || break
    done
    case $answer in
    *'"error":'*) echo "$answer" >&2; exit 1 ;;
    '') echo "no answer from $socket after $try tries" >&2; exit 1 ;;
    *'"allowed":false'*) echo "$answer" >&2; exit 75 ;;
    esac
}

socket=$1
request_id=$(cat /proc/sys/kernel/random/uuid)
case $2 in
start)
    call StartJob "\"profile\":$(quoted "$3"),\"user\":$(quoted "$4"),\
\"client_ip\":$(quoted "$5"),\"client_build_no\":$(quoted "$6")"
    printf '%s\n' "$answer" | sed 's/.*"job_id": *\([0-9]*\).*/\1/'
    ;;
end)
    call EndJob "\"job_id\":$3,\"file_count\":$4,\"byte_count\":$5,\"outcome\":$(quoted "$6")"
    ;;
esac
