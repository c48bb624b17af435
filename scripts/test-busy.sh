#!/usr/bin/env bash
# Runs `npm test` several times, in parallel with processes that take all the processor time they
# get, to find tests that pass only on an idle machine.
#
#   npm run test:busy                          ten runs beside four busy processes
#   npm run test:busy -- --runs 3 --busy 8     three beside eight
#   npm run test:busy -- test/heap test/crash  other arguments go to vitest: part of the suite
#
# Prints vitest's summary and the duration of each run; the full output is in build-aside/busy/. All
# runs are made, even after a failure; fails if any of them failed.
set -euo pipefail
cd "$(dirname "$0")/.."

runs=10
busy=4
tests=()
while [ $# -gt 0 ]; do
  case "$1" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --runs) runs="$2"; shift ;;
    --busy) busy="$2"; shift ;;
    *) tests+=("$1") ;;
  esac
  shift
done

load=()
trap 'kill "${load[@]}" 2> /dev/null || true' EXIT
for ((i = 0; i < busy; i++)); do
  # Ends with this script, however that ends.
  bash -c 'while kill -0 "$1" 2> /dev/null; do for ((i = 0; i < 1000000; i++)); do :; done; done' busy $$ &
  load+=($!)
done

mkdir -p build-aside/busy
failed=0
for ((run = 1; run <= runs; run++)); do
  log="build-aside/busy/$run.log"
  started=$SECONDS
  status=passed
  npm test -- "${tests[@]}" > "$log" 2>&1 < /dev/null || { status=FAILED; failed=$((failed + 1)); }
  printf '%2d %s after %d s; load average %s\n' "$run" "$status" $((SECONDS - started)) "$(cut -d' ' -f1-3 /proc/loadavg)"
  sed $'s/\e\\[[0-9;]*m//g' "$log" | grep -E '^ +(Test Files|Tests) |^ FAIL ' | sort -u
done
echo "$((runs - failed)) of $runs runs beside $busy busy processes passed"
[ "$failed" = 0 ]
