#!/usr/bin/env bash
# Tests the tarball of a release on this machine. Installed without scripts into an empty, read-only
# project, where no compiler can be found, it takes snapshots, restores them and dumps the heap on
# each version of Node.
#
#   scripts/test-release.sh              the tarball in build-aside/package/, on Node 20 22 24 26
#   scripts/test-release.sh FILE 20 26   another one, on these versions
#
# The versions of Node are those that scripts/package.mjs has installed in
# build-aside/package/toolchain/.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac
tarball="$(realpath "${1:-$(echo build-aside/package/stillframe-*.tgz)}")"
shift || true
versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(20 22 24 26)
toolchain="$PWD/build-aside/package/toolchain/node_modules"

work="$(mktemp -d)"
trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT
unset STILLFRAME_ADDON STILLFRAME_HEAP_ADDON NODE_PATH
mkdir "$work/consumer" "$work/bin"
cp scripts/smoke.mjs "$work/consumer"
for tool in sh env uname; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
cd "$work/consumer"
echo '{ "name": "consumer", "private": true }' > package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$tarball"
chmod -R a-w node_modules
for version in "${versions[@]}"; do
  node="$toolchain/node$version/bin/node"
  [ -x "$node" ] || { echo "test-release: $node is missing; npm run package installs it" >&2; exit 1; }
  PATH="$work/bin" "$node" smoke.mjs stillframe --heap
done
echo "test-release: passed on Node ${versions[*]}"
