#!/usr/bin/env bash
# Runs the tests of crashes, restores and archives on filesystems other than that of /tmp.
#
#   npm run test:filesystems                              all filesystems below, in turn
#   npm run test:filesystems -- xfs bare-fuse             only these
#   npm run test:filesystems -- --require xfs             fails if one cannot be mounted
#   npm run test:filesystems -- --table                   no tests: the table of docs/PLATFORMS.md
#   npm run test:filesystems -- xfs -- test/crash/fsync   vitest arguments, to run other tests
#
# In the kernel: ext4, ext4-nojournal, ext2, xfs, btrfs, overlay (over ext4), tmpfs, ramfs, vfat,
# exfat, f2fs, nfs (version 4, served by this machine) and 9p (served by diod). By FUSE: bare-fuse
# (test/support/fixtures/bare_filesystem.c, which can do as little as possible, and reports no free
# space), fuse2fs, fuse-overlayfs, bindfs, sshfs (to sftp-server, without ssh), exfat-fuse and
# ntfs-3g. A filesystem that this machine cannot mount is listed with the reason. The summary has a
# line for each: how many tests passed, failed and were skipped, and why.
#
# Each filesystem has its own process and mount namespaces, so that nothing stays mounted or
# running, however this ends. Disks are sparse images of 3 GiB, which are removed afterwards; tests
# get a second filesystem of the same kind, of 600 MiB, to fill. Each filesystem has half an hour
# (--minutes N). The full output of vitest is in build-aside/filesystems/. Needs root and these
# Debian packages, for each filesystem only its own: xfsprogs, btrfs-progs, dosfstools, exfatprogs,
# f2fs-tools, fuse3, libfuse3-dev, pkg-config, gcc, fuse2fs, fuse-overlayfs, bindfs, sshfs,
# openssh-sftp-server, exfat-fuse, ntfs-3g, nfs-kernel-server, diod.
set -euo pipefail
cd "$(dirname "$0")/.."

readonly all=(ext4 ext4-nojournal ext2 xfs btrfs overlay tmpfs ramfs vfat exfat f2fs nfs 9p
  bare-fuse fuse2fs fuse-overlayfs bindfs sshfs exfat-fuse ntfs-3g)

names=()
tests=(test/crash test/restore test/archive)
require=false
table=false
minutes=30
while [ $# -gt 0 ]; do
  argument="$1"
  shift
  case "$argument" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --require) require=true ;;
    --table) table=true ;;
    --minutes) minutes="$1"; shift ;;
    --) [ $# = 0 ] || tests=("$@"); break ;;
    *)
      [[ " ${all[*]} " == *" $argument "* ]] || { echo "test-filesystems: no such filesystem: $argument" >&2; exit 2; }
      names+=("$argument")
      ;;
  esac
done
[ ${#names[@]} -gt 0 ] || names=("${all[@]}")

[ "$(id -u)" = 0 ] || { echo 'test-filesystems: needs root, to mount filesystems' >&2; exit 1; }

logs="$PWD/build-aside/filesystems"
mkdir -p "$logs"
work="$(mktemp -d "${TMPDIR:-/tmp}/stillframe-filesystems-XXXXXX")"
chmod 755 "$work"
running=''
# unshare ignores other signals; SIGKILL also ends everything it has started, and all mounts.
clean_up() {
  [ -z "$running" ] || kill -KILL "$running" 2> /dev/null || true
  wait
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

# Records why a filesystem is left out, and ends the process of its namespace.
readonly kLeftOut=77
leave_out() {
  echo "$*" > "$here/reason"
  exit "$kLeftOut"
}

# Each of these leaves the filesystem out if something is missing.
kernel_has() {
  grep -qw "$1" /proc/filesystems || modprobe -q "$1" 2> /dev/null || true
  grep -qw "$1" /proc/filesystems || leave_out "this kernel has no $1"
}
tool() {
  command -v "$1" > /dev/null || leave_out "no $1 here (Debian's package $2)"
}
attempt() {
  "$@" > "$here/attempt" 2>&1 || leave_out "$1 failed: $(tail -n 1 "$here/attempt")"
}

# on_loop TYPE OPTIONS MAKE...: mounts an image, formatted by a command, on a loop device.
image() {
  truncate -s "$size" "$disk"
}
on_loop() {
  local type="$1" options="$2"
  shift 2
  image
  attempt "$@" "$disk"
  attempt mount -t "$type" -o "loop,$options" "$disk" "$mountpoint"
}

# by_fuse COMMAND...: starts a FUSE server that stays in the foreground; it ends with the namespace.
by_fuse() {
  [ -e /dev/fuse ] || leave_out 'no /dev/fuse here'
  "$@" > "$disk.log" 2>&1 &
  local tenth
  for ((tenth = 0; tenth < 100; tenth++)); do
    ! mountpoint -q "$mountpoint" || return 0
    kill -0 $! 2> /dev/null || leave_out "$1 failed: $(tail -n 1 "$disk.log")"
    sleep 0.1
  done
  leave_out "$1 has mounted nothing in ten seconds: $(tail -n 1 "$disk.log")"
}

# Creates the filesystem of a name, of $size bytes, at $mountpoint. $disk is its image, or the
# prefix of other names.
make() {
  case "$1" in
    ext4) kernel_has ext4; on_loop ext4 rw mkfs.ext4 -q -F ;;
    ext4-nojournal) kernel_has ext4; on_loop ext4 rw mkfs.ext4 -q -F -O ^has_journal ;;
    ext2) kernel_has ext2; on_loop ext2 rw mkfs.ext2 -q -F ;;
    xfs) kernel_has xfs; tool mkfs.xfs xfsprogs; on_loop xfs rw mkfs.xfs -q ;;
    btrfs) kernel_has btrfs; tool mkfs.btrfs btrfs-progs; on_loop btrfs rw mkfs.btrfs -q ;;
    f2fs) kernel_has f2fs; tool mkfs.f2fs f2fs-tools; on_loop f2fs rw mkfs.f2fs -q ;;
    # As removable disks are mounted for their users, except for umask: files are for their owner.
    vfat) kernel_has vfat; tool mkfs.vfat dosfstools; on_loop vfat umask=077 mkfs.vfat -F 32 ;;
    exfat) kernel_has exfat; tool mkfs.exfat exfatprogs; on_loop exfat umask=077 mkfs.exfat ;;
    tmpfs) attempt mount -t tmpfs -o "size=$size" tmpfs "$mountpoint" ;;
    ramfs) kernel_has ramfs; attempt mount -t ramfs ramfs "$mountpoint" ;;
    overlay)
      kernel_has overlay
      below
      mkdir "$disk.below/lower" "$disk.below/upper" "$disk.below/work"
      attempt mount -t overlay \
        -o "lowerdir=$disk.below/lower,upperdir=$disk.below/upper,workdir=$disk.below/work" overlay "$mountpoint"
      ;;
    nfs)
      kernel_has nfs4
      tool exportfs nfs-kernel-server
      kernel_has nfsd
      below
      serve_nfs
      attempt exportfs -o "rw,sync,no_root_squash,no_subtree_check,fsid=$((${#disk} + RANDOM))" "127.0.0.1:$disk.below"
      attempt mount -t nfs4 "127.0.0.1:$disk.below" "$mountpoint"
      ;;
    9p)
      kernel_has 9p
      tool diod diod
      below
      diod --foreground --no-auth --listen "$disk.socket" --export "$disk.below" > "$disk.log" 2>&1 &
      wait_for test -S "$disk.socket"
      attempt mount -t 9p -o "trans=unix,version=9p2000.L,aname=$disk.below,access=user,uname=root" "$disk.socket" "$mountpoint"
      ;;
    bare-fuse)
      tool cc gcc
      pkg-config --exists fuse3 2> /dev/null || leave_out "no headers of libfuse here (Debian's packages libfuse3-dev and pkg-config)"
      [ -x "$here/bare_filesystem" ] || attempt compile_bare
      below
      by_fuse "$here/bare_filesystem" "$disk.below" "$mountpoint" -f -o allow_other,default_permissions
      ;;
    fuse2fs)
      tool fuse2fs fuse2fs
      image
      attempt mkfs.ext4 -q -F "$disk"
      by_fuse fuse2fs "$disk" "$mountpoint" -f -o allow_other,default_permissions
      ;;
    fuse-overlayfs)
      tool fuse-overlayfs fuse-overlayfs
      below
      mkdir "$disk.below/lower" "$disk.below/upper" "$disk.below/work"
      by_fuse fuse-overlayfs -f \
        -o "lowerdir=$disk.below/lower,upperdir=$disk.below/upper,workdir=$disk.below/work,allow_other" "$mountpoint"
      ;;
    bindfs)
      tool bindfs bindfs
      below
      by_fuse bindfs -f "$disk.below" "$mountpoint"
      ;;
    sshfs)
      tool sshfs sshfs
      local server=/usr/lib/openssh/sftp-server
      [ -x "$server" ] || leave_out "no $server here (Debian's package openssh-sftp-server)"
      below
      # Replaces ssh, which would need a connection to this machine.
      printf '#!/bin/sh\nexec %s\n' "$server" > "$disk.ssh"
      chmod 755 "$disk.ssh"
      by_fuse sshfs -f -o "ssh_command=$disk.ssh,allow_other,default_permissions" "here:$disk.below" "$mountpoint"
      ;;
    exfat-fuse)
      tool mount.exfat-fuse exfat-fuse
      tool mkfs.exfat exfatprogs
      image
      attempt mkfs.exfat "$disk"
      # It accepts only block devices.
      local device
      device="$(losetup --find --show "$disk")"
      by_fuse mount.exfat-fuse -d -o umask=077,allow_other "$device" "$mountpoint"
      losetup --detach "$device" # when the server ends
      ;;
    ntfs-3g)
      tool ntfs-3g ntfs-3g
      image
      attempt mkfs.ntfs -q -F -Q "$disk"
      by_fuse ntfs-3g -o no_detach,umask=077,allow_other "$disk" "$mountpoint"
      ;;
  esac
}

# An ext4, for filesystems that are mounted over another one.
below() {
  mkdir "$disk.below"
  image
  attempt mkfs.ext4 -q -F "$disk"
  attempt mount -o loop "$disk" "$disk.below"
}

compile_bare() {
  # shellcheck disable=SC2046
  cc -O1 -Wall -Werror $(pkg-config --cflags fuse3) -o "$here/bare_filesystem" test/support/fixtures/bare_filesystem.c \
    $(pkg-config --libs fuse3)
}

wait_for() {
  local tenth
  for ((tenth = 0; tenth < 100; tenth++)); do
    ! "$@" || return 0
    sleep 0.1
  done
  leave_out "waited in vain for: $*"
}

# The kernel's server is shared by the whole machine: nothing of it is left when the namespaces end
# except what is undone here.
serve_nfs() {
  mountpoint -q /proc/fs/nfsd || attempt mount -t nfsd nfsd /proc/fs/nfsd
  [ "$(< /proc/fs/nfsd/threads)" != 0 ] && return 0
  mkdir -p /run/rpc_pipefs /var/lib/nfs
  attempt mount -t tmpfs tmpfs /var/lib/nfs
  mkdir -p /var/lib/nfs/sm /var/lib/nfs/v4recovery
  touch /var/lib/nfs/etab /var/lib/nfs/rmtab
  rpc.mountd --foreground --no-nfs-version 3 --manage-gids > "$here/mountd.log" 2>&1 &
  attempt rpc.nfsd --no-nfs-version 3 --no-udp 4
  trap 'exportfs -ua; rpc.nfsd 0' EXIT
}

# Runs as the first process of the namespaces.
inside() {
  local mountpoint size disk status=0
  for kind in small large; do
    size=3G
    [ "$kind" = large ] || size=600M
    disk="$here/$kind"
    mountpoint="$here/$kind.mount"
    mkdir "$mountpoint"
    make "$name"
  done
  mount -o remount,size=600M "$here/small.mount" 2> /dev/null || true
  export TMPDIR="$here/large.mount" STILLFRAME_TEST_FILESYSTEM="$name" STILLFRAME_TEST_SMALL_DISK="$here/small.mount"
  if $table; then
    timeout --kill-after=20 "${minutes}m" node test/filesystems/row.mjs "$TMPDIR" "$name" || status=$?
  else
    # As CI does: on a shared machine, one of hundreds of chosen moments may be missed.
    timeout --kill-after=20 "${minutes}m" node node_modules/vitest/vitest.mjs run --no-color --retry 1 "${tests[@]}" || status=$?
  fi
  return "$status"
}

# From vitest's output: how many tests passed, failed and were skipped.
count() {
  local tests
  tests="$(sed -n 's/^ *Tests  *//p' "$1" | tail -n 1)"
  echo "${tests:-no test ran to its end}"
}

summary=()
failures=0
! $table || node test/filesystems/row.mjs --head
for name in "${names[@]}"; do
  $table || echo "== $name"
  here="$work/$name"
  mkdir "$here"
  chmod 755 "$here"
  log="$logs/$name.log"
  status=0
  started=$SECONDS
  unshare --mount --pid --fork --kill-child --mount-proc -- bash -euo pipefail -c \
    "$(declare -p name here kLeftOut tests minutes table)
    $(declare -f leave_out kernel_has tool attempt image on_loop by_fuse make below compile_bare wait_for serve_nfs inside); inside" \
    > "$log" 2>&1 < /dev/null &
  running=$!
  wait "$running" || status=$?
  running=''
  took="$((SECONDS - started)) s"
  if [ "$status" = "$kLeftOut" ]; then
    ! $require || failures=$((failures + 1))
    line="$(printf '%-15s not mounted: %s' "$name" "$(< "$here/reason")")"
  elif $table; then
    [ "$status" = 0 ] || failures=$((failures + 1))
    line="$(tail -n 1 "$log")"
  else
    verdict=passed
    case "$status" in
      0) ;;
      124 | 137) verdict="FAILED (over $minutes minutes)" ;;
      *) verdict="FAILED (status $status)" ;;
    esac
    # The failed tests, and the skipped ones with the reasons.
    sed -n '/^ FAIL /p; /^FAILED: /p; /^Skipped on this machine/,/^$/p' "$log" | awk '!seen[$0]++'
    [ "$status" = 0 ] || { failures=$((failures + 1)); echo "   the whole output: $log"; }
    line="$(printf '%-15s %s after %s: %s' "$name" "$verdict" "$took" "$(count "$log")")"
  fi
  ! $table || echo "$line"
  summary+=("$line")
  rm -rf "$here"
done
if ! $table; then printf '%s\n' '' "${summary[@]}"; fi
[ "$failures" = 0 ]
