#!/bin/sh
# scheduler.sh: what the systemd timers do, for `dev run`: runs `usher-scheduler VERB` at once and then at every boundary of
# the period (OnCalendar=*:*:0/10 is a period of 10000), never two of a kind at a time, until it is ended.
#
# Usage: scheduler.sh VERB PERIOD PROGRAM CONFIG
#   PERIOD is in milliseconds of wall-clock time: a boundary is where the time since 1970 divides by it.
set -u
verb=$1 period=$2 program=$3 config=$4

child=
finish() {
    [ -z "$child" ] || kill "$child" 2>/dev/null
    wait
    exit 0
}
trap finish TERM INT HUP

while :; do
    # shellcheck disable=SC2086 # one word or two
    "$program" -c "$config" $verb &
    child=$!
    wait "$child" || echo "scheduler: usher-scheduler $verb ended with status $?" >&2
    now=$(date +%s%3N)
    rest=$((period - now % period))
    sleep "$((rest / 1000)).$(printf %03d $((rest % 1000)))" &
    child=$!
    wait "$child"
    child=
done
