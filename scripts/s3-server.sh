#!/usr/bin/env bash
# An S3 server for tests, on 127.0.0.1 only: the RADOS gateway of Ceph, with one monitor and one OSD
# as its back end.
#
#   scripts/s3-server.sh start DIR            prints how to reach it, as JSON, when it answers
#   scripts/s3-server.sh stop DIR [NAME...]   ends gateway, osd and monitor, or those named; `start`
#                                             continues with the same data
#   scripts/s3-server.sh kill DIR [NAME...]   the same, as a crash
#
# All of its files are in DIR, which holds S3_SERVER_GIB of objects (default 16; a server that is
# full answers nothing). Any user may run it. Needs Debian's radosgw, ceph-mon and ceph-osd.
set -euo pipefail

fail() {
  echo "s3-server: $*" >&2
  exit 1
}

[ $# -ge 2 ] || { sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0" >&2; exit 2; }
action="$1"
mkdir -p "$2"
home="$(cd "$2" && pwd)"
shift 2

# Two test files may start it at the same time.
exec 9> "$home/busy"
flock -w 180 9 || fail "somebody else has been starting or stopping the server in $home for three minutes"

# The process of this name, if it was started here and is not another one with the same number.
pid_of() {
  local pid
  pid="$(cat "$home/$1.pid" 2> /dev/null)" || return 1
  grep -qsF "$home/ceph.conf" "/proc/$pid/cmdline" && echo "$pid"
}

# run NAME COMMAND...: runs it in the background unless it is already running.
run() {
  local name="$1"
  shift
  if pid_of "$name" > /dev/null; then return; fi
  # Without the lock, and detached from the caller's terminal.
  setsid "$@" --conf "$home/ceph.conf" -f < /dev/null >> "$home/$name.log" 2>&1 9>&- &
  echo $! > "$home/$name.pid"
}

# once NAME COMMAND...: runs it with a time limit unless it has succeeded before.
once() {
  local name="$1"
  shift
  [ ! -e "$home/$name.done" ] || return 0
  timeout 90 "$@" >> "$home/$name.log" 2>&1 9>&- || fail "$name has failed; see $home/$name.log"
  touch "$home/$name.done"
}

# end SIGNAL NAME...: sends SIGNAL, and SIGKILL after half a minute.
end() {
  local signal="$1" name pid
  shift
  for name in "$@"; do
    pid="$(pid_of "$name")" || continue
    kill "-$signal" "$pid"
    for _ in $(seq 150); do
      pid_of "$name" > /dev/null || break
      sleep 0.2
    done
    if pid_of "$name" > /dev/null; then kill -KILL "$pid"; fi
    rm -f "$home/$name.pid"
  done
}

case "$action" in
  start) [ $# -eq 0 ] || fail 'start takes a directory and nothing else' ;;
  stop | kill)
    [ $# -gt 0 ] || set -- gateway osd monitor
    end "$([ "$action" = stop ] && echo TERM || echo KILL)" "$@"
    exit 0
    ;;
  *) fail "there is no '$action'; there are start, stop and kill" ;;
esac

is_free() { ! (exec 3<> "/dev/tcp/127.0.0.1/$1") 2> /dev/null; }

# Two ports, below those that the kernel assigns to connections.
if [ ! -e "$home/port" ]; then
  for _ in $(seq 100); do
    port=$((12000 + 2 * (RANDOM % 8000)))
    if is_free "$port" && is_free $((port + 1)); then break; fi
  done
  echo "$port" > "$home/port"
  cat /proc/sys/kernel/random/uuid > "$home/fsid"
  cat /proc/sys/kernel/random/uuid > "$home/osd-uuid"
fi
port="$(< "$home/port")"
monitor="[v2:127.0.0.1:$((port + 1))]"

cat > "$home/ceph.conf" << CONF
[global]
fsid = $(< "$home/fsid")
mon host = $monitor
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind msgr1 = false
# No authentication: anyone who can reach this address may do anything.
auth cluster required = none
auth service required = none
auth client required = none
ms mon client mode = crc
mon data = $home/monitor
osd data = $home/osd
rgw data = $home/gateway
run dir = $home
crash dir = $home
admin socket =
log file = $home/\$name.log
mon cluster log file = $home/cluster.log
# One replica of everything, on a disk that may be nearly full.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail warn = 1
mon data avail crit = 0
# Delays that only make sense in clusters.
paxos propose interval = 0.1
# A sparse file.
bluestore block size = $((${S3_SERVER_GIB:-16} * 1024 * 1024 * 1024))
bluestore cache autotune = false
bluestore cache size = $((64 * 1024 * 1024))
[client.rgw.gateway]
rgw frontends = beast endpoint=127.0.0.1:$port
rgw dns name = localhost
# The cache would notify other gateways of changes, and wait for a gateway that was killed.
rgw cache enabled = false
CONF

mkdir -p "$home/gateway" "$home/osd"
once monitor-map monmaptool --create --clobber --fsid "$(< "$home/fsid")" --addv a "$monitor" "$home/monmap"
once monitor-data ceph-mon -i a --conf "$home/ceph.conf" --mkfs --monmap "$home/monmap"
run monitor ceph-mon -i a
once osd-number ceph --conf "$home/ceph.conf" osd new "$(< "$home/osd-uuid")"
once osd-data ceph-osd -i 0 --conf "$home/ceph.conf" --mkfs --osd-uuid "$(< "$home/osd-uuid")"
if ! pid_of osd > /dev/null; then
  # A killed OSD still counts as up, and Ceph would wait for its answers.
  timeout 60 ceph --conf "$home/ceph.conf" osd down 0 >> "$home/osd.log" 2>&1 9>&- || true
fi
run osd ceph-osd -i 0
once user radosgw-admin --conf "$home/ceph.conf" -n client.rgw.gateway user create \
  --uid=test --display-name=test --access-key=test --secret-key=test-secret
is_free "$port" || pid_of gateway > /dev/null || fail "port $port is in use by another program"
run gateway radosgw -n client.rgw.gateway

answers() {
  local line
  exec 3<> "/dev/tcp/127.0.0.1/$port" || return 1
  printf 'GET / HTTP/1.0\r\n\r\n' >&3
  read -r -t 10 line <&3 || return 1
  [[ "$line" == HTTP/*' 200 '* ]]
}
for _ in $(seq 300); do
  if (answers) 2> /dev/null; then
    printf '{"endpoint":"http://127.0.0.1:%d","region":"us-east-1","accessKeyId":"test","secretAccessKey":"test-secret"}\n' "$port"
    exit 0
  fi
  for name in monitor osd gateway; do
    pid_of "$name" > /dev/null || fail "$name has ended; see $home/$name.log"
  done
  sleep 0.2
done
fail "no answer for a minute; see $home/gateway.log"
