#!/usr/bin/env bash
# Runs the test suite with an addon that was built with sanitizers.
#
#   npm run test:sanitized                       asan, then tsan
#   npm run test:sanitized -- asan               AddressSanitizer and UndefinedBehaviorSanitizer
#   npm run test:sanitized -- tsan test/host     further arguments go to vitest
#
# Node itself is not instrumented: the runtime is preloaded, leaks are not checked (V8 frees nothing
# at exit, and a process may end in the middle of a capture), and TSan observes only our own code.
# Reports go to files, because many tests expect a process to die and would swallow them; a single
# report fails the run. (Together with ASan, gcc's UBSan cannot write to a file: a process that it
# stops exits with status 99, which no test expects.) Tests have five minutes each.
# STILLFRAME_SANITIZER=asan|tsan tells them that times and sizes are not exact.
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  asan | tsan) flavours=("$1"); shift ;;
  *) flavours=(asan tsan) ;;
esac

preload() {
  local library path paths=()
  for library in "$@"; do
    path="$("${CXX:-g++}" -print-file-name="$library")"
    # If the compiler does not have the library, it prints the bare name.
    [ -e "$path" ] || { echo "test-sanitized: ${CXX:-g++} has no $library" >&2; exit 1; }
    paths+=("$path")
  done
  echo "${paths[*]}"
}

for flavour in "${flavours[@]}"; do
  case "$flavour" in
    asan)
      # Without the checks that take gcc most of the time to compile: the C++ tests include them.
      flags='-fsanitize=address,undefined -fno-sanitize=vptr,null,alignment -fno-sanitize-recover=all'
      libraries="$(preload libasan.so libubsan.so libstdc++.so)"
      ;;
    tsan)
      flags='-fsanitize=thread -Wno-tsan'
      libraries="$(preload libtsan.so libstdc++.so)"
      ;;
  esac
  # After a sanitizer has rewritten the code, gcc reports initialized values as uninitialized.
  export CFLAGS="$flags -fno-omit-frame-pointer -g -O1 -Wno-maybe-uninitialized" LDFLAGS="$flags"
  CXXFLAGS="$CFLAGS" scripts/build-aside.sh "$flavour"

  reports="$PWD/build-aside/$flavour/reports"
  rm -rf "$reports"
  mkdir -p "$reports"
  # Node and the addon keep handling the signals: their handlers are what is tested.
  signals='handle_segv=0:handle_sigbus=0:handle_abort=0:handle_sigill=0:handle_sigfpe=0'
  status=0
  env LD_PRELOAD="$libraries" \
    ASAN_OPTIONS="detect_leaks=0:$signals:log_path=$reports/asan:${ASAN_OPTIONS:-}" \
    UBSAN_OPTIONS="print_stacktrace=1:$signals:exitcode=99:${UBSAN_OPTIONS:-}" \
    TSAN_OPTIONS="$signals:ignore_noninstrumented_modules=1:die_after_fork=0:report_thread_leaks=0:log_path=$reports/tsan:${TSAN_OPTIONS:-}" \
    STILLFRAME_ADDON="$PWD/build-aside/$flavour/build/Release/stillframe.node" \
    STILLFRAME_HEAP_ADDON="$PWD/build-aside/$flavour/build/Release/stillframe_heap.node" \
    STILLFRAME_SANITIZER="$flavour" \
    node node_modules/vitest/vitest.mjs run --testTimeout=300000 --hookTimeout=300000 "$@" || status=$?

  if [ -n "$(ls -A "$reports")" ]; then
    echo "== reports of $flavour" >&2
    head -n 100 "$reports"/* >&2
    exit 1
  fi
  [ "$status" = 0 ] || exit "$status"
  echo "== $flavour: no report"
done
