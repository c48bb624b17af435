#!/usr/bin/env bash
# Packs the package and proves that strangers can use what comes out.
#
#   npm run check:pack
#
# 1. npm pack; the list of files holds what it must and nothing else; no lifecycle script runs on install
# 2. publint and @arethetypeswrong/cli (an ESM-only package) find nothing
# 3. installed into an empty project, without any script: import, require, types and command line work, stillframe/heap
#    and its signal too
# 4. the same without the prebuilt addons: a source build from the tarball's own files loads and works
#
# Needs a built addon (npm run build). Works in a temporary directory.
set -euo pipefail
cd "$(dirname "$0")/.."
case "${1:-}" in
  -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
esac

root="$PWD"
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
# What the checkout has lying around must not help the installed package.
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
for needed in package.json README.md LICENSE CHANGELOG.md source/binding.gyp dist/index.js dist/index.d.ts \
  dist/cli/main.js dist/heap/index.js dist/heap/index.d.ts dist/heap/signal.js dist/heap/signal.d.ts \
  source/native/heap/heap_addon.cc source/native/child/hardening.cc source/vendor/xxhash/xxhash.h source/vendor/xxhash/LICENSE \
  source/vendor/zstd/zstd.h source/vendor/zstd/LICENSE \
  "$prebuilt/stillframe.node" "$prebuilt/$heap_addon"; do
  grep -qxF "$needed" "$work/files" || fail "the tarball lacks $needed"
done
expected='^((package\.json|README\.md|LICENSE|CHANGELOG\.md|SECURITY\.md)$'
expected+='|examples/.+\.(mjs|md)$'
expected+='|dist/.+\.(js|js\.map|d\.ts|d\.ts\.map)$|docs/.+\.(md|svg|png)$'
expected+='|source/binding\.gyp$|source/native/(base|memory|freeze|image|child|capture|addon|heap)/[a-z0-9_]+\.(cc|h)$'
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
if [ -e prebuilds ] || [ -e source ]; then fail 'npm pack left prebuilds/ or source/ in the checkout'; fi

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
version="$(npx --no-install stillframe --version)"
[[ "$version" == *"$(node -p "require('$root/package.json').version")"* ]] || fail "--version says '$version'"

echo '== types'
cat > consumer.mts << 'TS'
import { Region, type SnapshotResult, type StillframeError, restore, snapshot } from 'stillframe'
import { type ForkJob, readValues, snapshotState, writeHeapSnapshot } from 'stillframe/heap'
import 'stillframe/heap/signal'

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
TS
# CommonJS may require() it: the same types by the other road.
cat > consumer.cts << 'TS'
import stillframe = require('stillframe')
import heap = require('stillframe/heap')

const region: stillframe.Region = stillframe.Region.allocate(4096)
region.close()
heap.writeHeapSnapshot('x.heapsnapshot').abort()
TS
"$root/node_modules/.bin/tsc" --noEmit --strict --target es2023 --lib es2023,esnext.disposable --module nodenext \
  --typeRoots "$root/node_modules/@types" --types node consumer.mts consumer.cts

echo '== source build from the tarball'
rm -rf "$installed/prebuilds"
if node smoke.mjs stillframe > "$work/unbuilt.log" 2>&1; then fail 'it works without any addon'; fi
grep -q 'ERR_STILLFRAME\|node-gyp' "$work/unbuilt.log" || {
  cat "$work/unbuilt.log" >&2
  fail 'a missing addon is not explained'
}
(cd "$installed/source" && node "$root/node_modules/node-gyp/bin/node-gyp.js" rebuild --loglevel=warn > "$work/build.log" 2>&1) || {
  cat "$work/build.log" >&2
  fail 'the source build failed'
}
for built in stillframe stillframe_heap; do
  [ -f "$installed/source/build/Release/$built.node" ] || fail "the source build made no $built.node"
done
node smoke.mjs stillframe --heap
echo 'check-pack: passed'
