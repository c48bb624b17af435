#!/bin/sh
# Runs the service, forwards SIGTERM, and exits once no forked copy is running.
"$@" &
service=$!
trap 'kill -TERM "$service"' TERM INT
wait "$service"; status=$?
while kill -0 "$service" 2> /dev/null; do wait "$service"; status=$?; done
while grep -qx stillframe /proc/[0-9]*/comm 2> /dev/null; do sleep 1; done
exit "$status"
