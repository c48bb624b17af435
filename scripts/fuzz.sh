#!/usr/bin/env bash
# Fuzzes the reader of image files (native/test/fuzz_image_file.cc) with libFuzzer, ASan and UBSan.
#
#   scripts/fuzz.sh [seconds]            60 by default
#   scripts/fuzz.sh 600 -jobs=2          further arguments go to libFuzzer
#   scripts/fuzz.sh --keep [seconds]     afterwards, merges new inputs into native/test/corpus/
#
# Needs clang++ and its runtime (Debian bookworm: apt-get install clang libclang-rt-dev). All output
# goes to build-native/fuzz/. An input that breaks the reader is left there as crash-* (or
# timeout-*, oom-*): fix the reader, then move the file to native/test/corpus/, where the unit tests
# replay it.
set -euo pipefail
cd "$(dirname "$0")/.."

keep=no
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
  --keep) keep=yes; shift ;;
esac
seconds="${1:-60}"
[ $# -gt 0 ] && shift

command -v clang++ > /dev/null || { echo 'fuzz: needs clang++ (Debian: apt-get install clang)' >&2; exit 1; }
out=build-native/fuzz
corpus=native/test/corpus
mkdir -p "$out/corpus"
xxhash=node_modules/xxhash-addon/xxHash
[ -d "$xxhash" ] || { echo 'fuzz: needs the sources of xxHash: npm ci' >&2; exit 1; }

zstd=node_modules/zstd-napi/deps/zstd/lib

# Only the sources needed to read a file.
sources=(native/test/fuzz_image_file.cc
  native/image/{block_check,block_codec,block_layout,checksum,direct_reader,file_source,flat_layout,gap_check}.cc
  native/image/{image_file,image_layout,image_opener,image_sweep,packed_layout,page_presence,page_sums,read_scratch}.cc
  native/base/{disabled_steps,mapping,result,sys,thread}.cc)
for source in "$zstd"/{common,compress,decompress}/*.c "$zstd"/decompress/*.S; do
  case "$source" in */pool.c | */threading.c | */zstdmt_compress.c) continue ;; esac
  sources+=("$source")
done
objects=()
for source in "${sources[@]}"; do objects+=("$out/$(basename "$source").o"); done
export out xxhash zstd
export flags='-g -O1 -fno-omit-frame-pointer -D_FILE_OFFSET_BITS=64 -pthread -fsanitize=fuzzer-no-link,address,undefined'
# Third-party code does not change, and is compiled once.
compile() {
  local object="$out/${1##*/}.o"
  case "$1" in
    *.cc) clang++ -std=c++20 $flags -fno-sanitize-recover=all -Inative -isystem "$xxhash" -isystem "$zstd" \
      -c -o "$object" "$1" ;;
    *) [ -e "$object" ] || clang $flags -w -DXXH_NAMESPACE=ZSTD_ -include native/image/zstd_without_malloc.h \
      -c -o "$object" "$1" ;;
  esac
}
export -f compile
printf '%s\n' "${sources[@]}" | xargs -P "$(nproc)" -I{} bash -euc 'compile {}'
clang++ -pthread -fsanitize=fuzzer,address,undefined -o "$out/fuzz_image_file" "${objects[@]}"

# malloc_limit_mb: sizes that a file claims must not be trusted. timeout: nor must loop counts.
limits=(-rss_limit_mb=1024 -malloc_limit_mb=128 -timeout=10 -max_len=16384)
export ASAN_OPTIONS="detect_leaks=1:allocator_may_return_null=0:${ASAN_OPTIONS:-}"
"$out/fuzz_image_file" "${limits[@]}" -max_total_time="$seconds" -use_value_profile=1 -print_final_stats=1 \
  -artifact_prefix="$out/" "$@" "$out/corpus" "$corpus"

if [ "$keep" = yes ]; then
  "$out/fuzz_image_file" -set_cover_merge=1 -max_len=16384 "$corpus" "$out/corpus"
fi
