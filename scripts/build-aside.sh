#!/usr/bin/env bash
# Builds the addons outside build/Release, which is not touched.
#
#   scripts/build-aside.sh NAME [node-gyp options]
#   scripts/build-aside.sh node-24 --nodedir=...     for example
#
# The sources are linked into build-aside/NAME/ and built there; the addons are stillframe.node and
# stillframe_heap.node in build-aside/NAME/build/Release. A second call compiles only what has
# changed. CXXFLAGS, CFLAGS and LDFLAGS in the environment are added to the flags of binding.gyp;
# use a separate NAME for each set of flags. NODE names the node that runs node-gyp (default: node).
set -euo pipefail
cd "$(dirname "$0")/.."

case "${1:-}" in
  '' | -*) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 2 ;;
esac
name="$1"
shift

mkdir -p "build-aside/$name"
cd "build-aside/$name"
for source in package.json binding.gyp native node_modules; do
  ln -sfn "../../$source" "$source"
done

node="${NODE:-node}"
node_gyp=("$node" node_modules/node-gyp/bin/node-gyp.js)
# The headers that came with this node, if any, save node-gyp a download.
if [[ -z "${npm_config_nodedir:-}" && " $* " != *' --nodedir'* ]]; then
  home="$("$node" -p 'path.dirname(path.dirname(process.execPath))')"
  if [ -f "$home/include/node/node_api.h" ]; then set -- --nodedir="$home" "$@"; fi
fi
"${node_gyp[@]}" configure --loglevel=warn "$@"
"${node_gyp[@]}" build --loglevel=warn --jobs="$(nproc)" "$@" > build.log 2>&1 || { cat build.log >&2; exit 1; }
echo "built build-aside/$name/build/Release/stillframe.node and stillframe_heap.node"
