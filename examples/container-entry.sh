#!/bin/sh
# Runs the service, hands on SIGTERM, and ends once no copy is at work any more.
"$@" &
service=$!
trap 'kill -TERM "$service"' TERM INT
wait "$service"; status=$?
while kill -0 "$service" 2> /dev/null; do wait "$service"; status=$?; done
while grep -qx stillframe /proc/[0-9]*/comm 2> /dev/null; do sleep 1; done
exit "$status"
