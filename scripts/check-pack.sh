#!/usr/bin/env bash
# Packs the package and checks that anyone can use the result.
#
#   npm run check:pack
#
# 1. npm pack; the list of files has everything that is needed and nothing else; no lifecycle script
#    runs on install; every link in its documents leads somewhere
# 2. publint and @arethetypeswrong/cli (an ESM-only package) find nothing
# 3. installed into an empty project without any scripts: import, require, types and command line
#    work, and so do stillframe/heap, its signal, stillframe/metrics and stillframe/s3
# 4. installed on "macOS" by npm, and without a compiler by Yarn (also with Plug'n'Play) and pnpm,
#    which compile anything that seems to require it. scripts/check-installs.mjs does this for a
#    release, with every Node, and in test runners
# 5. bundled by esbuild, Rollup, webpack and Vite: scripts/check-bundlers.mjs
# 6. the package that npm makes of a clone when it installs from git contains its addons
# 7. the same as 3 without the prebuilt addons: a source build from the tarball's own files loads
#    and works
#
# Needs a built addon (npm run build) and the registry. Works in a temporary directory. `--quick`
# leaves out 4 and 5.
set -euo pipefail
cd "$(dirname "$0")/.."
quick=''
case "${1:-}" in
  --quick) quick=1 ;;
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

root="$PWD"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# Settings of the checkout must not help the installed package.
unset STILLFRAME_ADDON STILLFRAME_HEAP_ADDON NODE_PATH

fail() {
  echo "check-pack: $*" >&2
  exit 1
}

echo '== pack'
npm pack --pack-destination "$work" --loglevel=error > "$work/pack.log"
tarball="$(echo "$work"/stillframe-*.tgz)"
tar -tzf "$tarball" | sed 's,^package/,,' | sort > "$work/files"
echo "$(basename "$tarball"): $(wc -l < "$work/files") files, $(stat -c %s "$tarball") bytes"

libc=glibc
if ldd --version 2>&1 | grep -qi musl; then libc=musl; fi
prebuilt="prebuilds/linux-$(node -p process.arch)-$libc"
heap_addon="stillframe_heap-node$(node -p 'process.versions.node.split(".")[0]').node"
for needed in package.json README.md LICENSE CHANGELOG.md THIRD-PARTY-NOTICES.txt sbom.cdx.json source/binding.gyp dist/index.js dist/index.d.ts \
  dist/cli/main.js dist/heap/index.js dist/heap/index.d.ts dist/heap/signal.js dist/heap/signal.d.ts dist/metrics/index.js dist/metrics/index.d.ts dist/s3/index.js dist/s3/index.d.ts \
  dist/archive/index.js dist/archive/index.d.ts dist/reader/index.js dist/reader/index.d.ts dist/report/client.js dist/report/client.css \
  source/native/heap/heap_addon.cc source/native/child/hardening.cc source/vendor/xxhash/xxhash.h source/vendor/xxhash/xxh_x86dispatch.c source/vendor/xxhash/LICENSE \
  source/vendor/zstd/zstd.h source/vendor/zstd/LICENSE \
  "$prebuilt/stillframe.node" "$prebuilt/$heap_addon"; do
  grep -qxF "$needed" "$work/files" || fail "the tarball lacks $needed"
done
expected='^((package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md|THIRD-PARTY-NOTICES\.txt|sbom\.cdx\.json)$'
expected+='|examples/.+\.(mjs|md|sh)$'
expected+='|dist/.+\.(js|js\.map|d\.ts|d\.ts\.map)$|dist/report/client\.css$|docs/.+\.(md|svg|png)$'
rooms="$(find native -mindepth 1 -maxdepth 1 -type d ! -name test -printf '|%f')"
expected+="|source/binding\.gyp\$|source/native/(${rooms#|})/[a-z0-9_]+\.(cc|h)\$"
expected+='|prebuilds/linux-(x64|arm64)-(glibc|musl)/stillframe(_heap-node[0-9]+)?\.node$'
expected+='|source/vendor/[a-z0-9]+/.+)'
if surprising="$(grep -vE "$expected" "$work/files")"; then
  fail "unexpected files in the tarball:"$'\n'"$surprising"
fi
node -e '
  const { scripts = {}, gypfile } = JSON.parse(fs.readFileSync("package.json"))
  const run = ["preinstall", "install", "postinstall"].filter((name) => scripts[name])
  if (run.length || gypfile !== false) throw new Error(`npm install would run something: ${run.join()} gypfile ${gypfile}`)
'
for left in prebuilds source THIRD-PARTY-NOTICES.txt sbom.cdx.json; do
  if [ -e "$left" ]; then fail "npm pack left $left in the checkout"; fi
done
node scripts/check-links.mjs "$tarball"

echo '== publint, attw'
node_modules/.bin/publint run "$tarball" --strict
node_modules/.bin/attw "$tarball" --profile esm-only --no-emoji

echo '== install without scripts'
mkdir "$work/consumer"
cd "$work/consumer"
echo '{ "name": "consumer", "private": true }' > package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$tarball"
installed=node_modules/stillframe
cp "$root/scripts/smoke.mjs" .
node smoke.mjs stillframe --heap
node --input-type=commonjs -e "
  const { Region, snapshot } = require('stillframe')
  if (typeof snapshot !== 'function' || Region.allocate(4096).byteLength !== 4096) throw new Error('require() is broken')
  const { writeHeapSnapshot, snapshotState } = require('stillframe/heap')
  snapshotState('required.state', (out) => out.write('of one instant')).done.then(({ path }) => {
    if (fs.readFileSync(path, 'utf8') !== 'of one instant') throw new Error('snapshotState() is broken')
  })
  if (typeof writeHeapSnapshot !== 'function') throw new Error('require() of stillframe/heap is broken')
"
node --import stillframe/heap/signal --input-type=module -e "
  process.kill(process.pid, 'SIGUSR2')
  const end = Date.now() + 30_000
  while (!fs.readdirSync('.').some((name) => /^heap-.*\.heapsnapshot\$/.test(name))) {
    if (Date.now() > end) throw new Error('stillframe/heap/signal has written nothing')
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
" 2> signal.log || { cat signal.log >&2; fail 'stillframe/heap/signal is broken'; }
if [ -e node_modules/prom-client ]; then fail 'the optional prom-client is installed by itself'; fi
if node --input-type=module -e "import 'stillframe/metrics'" 2> metrics.log; then fail 'it has a prom-client from elsewhere'; fi
grep -q "Cannot find package 'prom-client'" metrics.log || { cat metrics.log >&2; fail 'a missing prom-client is not named'; }
if node --input-type=module -e "import 'stillframe/s3'" 2> s3.log; then fail 'it has an SDK from elsewhere'; fi
grep -q "Cannot find package '@aws-sdk/client-s3'" s3.log || { cat s3.log >&2; fail 'a missing SDK is not named'; }
npm install --ignore-scripts --no-audit --no-fund --loglevel=error prom-client@15 @aws-sdk/client-s3@3
node --input-type=commonjs -e "
  const { S3Client } = require('@aws-sdk/client-s3')
  const { s3 } = require('stillframe/s3')
  const store = s3({ client: new S3Client({ region: 'us-east-1' }), bucket: 'bucket' })
  if (typeof store.upload !== 'function') throw new Error('stillframe/s3 is broken')
"
node --input-type=commonjs -e "
  const { register } = require('prom-client')
  const { registerMetrics } = require('stillframe/metrics')
  const { snapshot } = require('stillframe')
  registerMetrics({ register })
  snapshot(new ArrayBuffer(4096), 'counted.sf').done.then(() => register.metrics()).then((text) => {
    if (!text.includes('stillframe_changed_bytes_total{operation=\"snapshot\"} 4096')) throw new Error(text)
  })
"
version="$(npx --no-install stillframe --version)"
[[ "$version" == *"$(node -p "require('$root/package.json').version")"* ]] || fail "--version says '$version'"

echo '== types'
cat > consumer.mts << 'TS'
import { Region, type SnapshotResult, type StillframeError, restore, snapshot } from 'stillframe'
import { type ForkJob, readValues, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import 'stillframe/heap/signal'
import { register } from 'prom-client'
import { registerMetrics } from 'stillframe/metrics'
import { S3Client } from '@aws-sdk/client-s3'
import { directoryStore } from 'stillframe/archive'
import { type ObjectStore, s3 } from 'stillframe/s3'

const region: Region = Region.allocate(4096, { name: 'main' })
const result: SnapshotResult = await snapshot({ main: region }, 'x.sf', { engine: 'auto' }).done
const bytes: number = result.byteLength
const restored = await restore('x.sf', { mode: 'map' })
const again: Region | undefined = restored.regions['main']
// @ts-expect-error an unknown option
snapshot(region, 'x.sf', { engin: 'auto' })
export const code = (error: StillframeError): string => error.code
const job: ForkJob = snapshotState('x.values', (out) => out.value({ bytes, again }), { nice: 5 })
const size: number = (await job.done).fileSize
for await (const value of readValues(job.path)) console.log(size, value)
// @ts-expect-error an unknown option
writeHeapSnapshot(undefined, { engine: 'fork' })
registerMetrics({ register, prefix: 'x_' }).unregister()
// @ts-expect-error an unknown option
registerMetrics({ register, prefx: 'x_' })
const stores: ObjectStore[] = [directoryStore('x'), s3({ client: new S3Client({}), bucket: 'x', prefix: 'y' })]
// @ts-expect-error an unknown option
await stores[0]?.put('x', new Uint8Array(1), { ifabsent: true })
TS
# CommonJS may require() it: the same types by the other route.
cat > consumer.cts << 'TS'
import stillframe = require('stillframe')
import heap = require('stillframe/heap')

const region: stillframe.Region = stillframe.Region.allocate(4096)
region.close()
heap.writeHeapSnapshot('x.heapsnapshot').abort()
TS
"$root/node_modules/.bin/tsc" --noEmit --strict --target es2023 --lib es2023,esnext.disposable --module nodenext \
  --typeRoots "$root/node_modules/@types" --types node consumer.mts consumer.cts

if [ -z "$quick" ]; then
  echo '== elsewhere: installs and imports on macOS'
  echo "Object.defineProperty(process, 'platform', { value: 'darwin' })" > "$work/darwin.cjs"
  mkdir "$work/darwin" && cd "$work/darwin"
  echo '{ "private": true }' > package.json
  node -r "$work/darwin.cjs" "$(readlink -f "$(command -v npm)")" install --ignore-scripts --no-audit --no-fund \
    --loglevel=error "$tarball"
  node -r "$work/darwin.cjs" --input-type=module -e "
    const { Region } = await import('stillframe')
    const { writeHeapSnapshot } = await import('stillframe/heap')
    for (const use of [() => Region.allocate(1), () => writeHeapSnapshot('x')]) {
      try {
        use()
      } catch ({ code }) {
        if (code === 'ERR_STILLFRAME_UNSUPPORTED_PLATFORM') continue
        throw new Error(code)
      }
      throw new Error('it works on macOS')
    }
  "

  # install_by NAME COMMAND...: installs into an empty project where no compiler can be found.
  mkdir "$work/bin"
  for tool in node npm npx sh git tar gzip uname; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
  install_by() {
    local name="$1"
    shift
    echo "== $name, without a compiler"
    mkdir "$work/$name" && cd "$work/$name"
    echo '{ "name": "consumer", "version": "1.0.0", "license": "MIT", "private": true }' > package.json
    cp "$tarball" stillframe.tgz
    cp "$root/scripts/smoke.mjs" .
    # Maybe only npm knows the registry's certificate.
    env -u CC -u CXX PATH="$work/bin" npm_config_store_dir="$work/store" YARN_CACHE_FOLDER="$work/cache" \
      NODE_EXTRA_CA_CERTS="${NODE_EXTRA_CA_CERTS:-$(npm config get cafile | grep / || true)}" \
      npx --yes "$@" > install.log 2>&1 || { cat install.log >&2; fail "$name cannot install it"; }
    "${node[@]}" smoke.mjs stillframe --heap
  }
  node=(node)
  install_by yarn1 yarn@1 add file:./stillframe.tgz
  install_by pnpm9 pnpm@9 add ./stillframe.tgz
  install_by pnpm10 pnpm@10 add ./stillframe.tgz
  export YARN_NODE_LINKER=node-modules YARN_ENABLE_TELEMETRY=0 YARN_ENABLE_IMMUTABLE_INSTALLS=0
  install_by yarn4 @yarnpkg/cli-dist@4.9 add stillframe@file:./stillframe.tgz
  YARN_NODE_LINKER=pnp
  node=(node --no-warnings --require ./.pnp.cjs --experimental-loader ./.pnp.loader.mjs)
  install_by yarn4-pnp @yarnpkg/cli-dist@4.9 add stillframe@file:./stillframe.tgz
  [ ! -e node_modules/stillframe ] || fail 'this is not Plug’n’Play'

  echo '== bundlers'
  mkdir "$work/bundled" && cd "$work/bundled"
  echo '{ "name": "consumer", "private": true }' > package.json
  npm install --no-audit --no-fund --loglevel=error "$tarball" esbuild@0.28 rollup@4 @rollup/plugin-node-resolve@16 webpack@5 \
    webpack-cli@7 vite@8
  node "$root/scripts/check-bundlers.mjs" "$PWD"
fi

echo '== what is made of a clone that is installed from git'
git clone -q "$root" "$work/clone"
cd "$work/clone"
ln -s "$root/node_modules" node_modules
# `npm ci` has already shown that compiling works.
cp -R "$root/build" "$root/dist" .
npm_package_resolved="$PWD" node scripts/prepare.mjs
npm pack --ignore-scripts --pack-destination "$work/clone" --loglevel=error > /dev/null
mkdir "$work/from-git" && cd "$work/from-git"
echo '{ "private": true }' > package.json
npm install --ignore-scripts --no-audit --no-fund --loglevel=error "$work"/clone/stillframe-*.tgz
cp "$root/scripts/smoke.mjs" .
node smoke.mjs stillframe --heap

echo '== source build from the tarball'
cd "$work/consumer"
rm -rf "$installed/prebuilds"
if node smoke.mjs stillframe > "$work/unbuilt.log" 2>&1; then fail 'it works without any addon'; fi
grep -q 'ERR_STILLFRAME\|node-gyp' "$work/unbuilt.log" || {
  cat "$work/unbuilt.log" >&2
  fail 'a missing addon is not explained'
}
home="$(node -p 'path.dirname(path.dirname(process.execPath))')"
headers=()
if [ -f "$home/include/node/node_api.h" ]; then headers=(--nodedir="$home"); fi
(cd "$installed/source" && node "$root/node_modules/node-gyp/bin/node-gyp.js" rebuild --loglevel=warn \
  "${headers[@]}" > "$work/build.log" 2>&1) || {
  cat "$work/build.log" >&2
  fail 'the source build failed'
}
for built in stillframe stillframe_heap; do
  [ -f "$installed/source/build/Release/$built.node" ] || fail "the source build made no $built.node"
done
node smoke.mjs stillframe --heap
echo 'check-pack: passed'
