#!/usr/bin/env bash
# Builds and runs the C++ tests in native/test/, without Node.
#
#   npm run test:native                      plain, asan and tsan, one after the other
#   npm run test:native -- asan              one flavour: plain | asan (ASan + UBSan) | tsan
#   npm run test:native -- tsan --gtest_filter='Pool*'    further arguments go to the test program
#
# Needs a C++20 compiler, make and the sources of GoogleTest (Debian: apt-get install googletest;
# otherwise set GTEST_DIR to the directory that contains its src/ and include/). Objects go to
# build-native/<flavour>/.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

flavours=(plain asan tsan)
case "${1:-}" in
  plain | asan | tsan) flavours=("$1"); shift ;;
  all) shift ;;
esac

export GTEST_DIR="${GTEST_DIR:-/usr/src/googletest/googletest}"
if [ ! -f "$GTEST_DIR/src/gtest-all.cc" ]; then
  echo "test-native: no GoogleTest sources in $GTEST_DIR." >&2
  echo "Install them (Debian: apt-get install googletest) or set GTEST_DIR." >&2
  exit 1
fi

if ! compgen -G 'native/test/*_test.cc' > /dev/null; then
  echo 'test-native: there are no tests in native/test/' >&2
  exit 1
fi

# No leak check under ASan: tests fork, and a child that exits with _exit frees nothing.
export ASAN_OPTIONS="detect_leaks=0:abort_on_error=1:${ASAN_OPTIONS:-}"
export UBSAN_OPTIONS="print_stacktrace=1:${UBSAN_OPTIONS:-}"
export TSAN_OPTIONS="halt_on_error=1:second_deadlock_stack=1:die_after_fork=0:${TSAN_OPTIONS:-}"

for flavour in "${flavours[@]}"; do
  echo "== C++ tests, $flavour"
  make --no-print-directory -f native/test/Makefile FLAVOUR="$flavour" -j "$(nproc)"
  run=()
  # With gcc 12 and clang 14, TSan's shadow memory works only with up to 28 bits of address
  # randomization.
  if [ "$flavour" = tsan ] && [ "$(cat /proc/sys/vm/mmap_rnd_bits)" -gt 28 ]; then
    run=(setarch "$(uname -m)" --addr-no-randomize)
  fi
  "${run[@]}" "build-native/$flavour/stillframe_test" --gtest_brief=1 "$@"
done
