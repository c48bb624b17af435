#!/usr/bin/env node
// Puts into the package what spares its users a compiler and a download. Run by `npm pack` and `npm publish`:
//
//   node scripts/prepack.mjs             before: prebuilds/<platform>/stillframe.node, stillframe_heap-node<major>.node
//                                        beside it, vendor/xxhash/ and vendor/zstd/
//   node scripts/prepack.mjs --clean     after: takes away what it had put there
//
// prebuilds/ of other platforms and of other versions of Node, laid there by hand for a release, are left alone and
// packed too. While prebuilds/ has an addon for this platform it is loaded instead of build/Release; hence the cleaning.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
process.chdir(root)

const require = createRequire(import.meta.url)
const [major] = process.versions.node.split('.')
const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const prebuilds = `prebuilds/${process.platform}-${process.arch}-${libc}`
const vendored = { xxhash: 'vendor/xxhash', zstd: 'vendor/zstd' }
/** What was built, and its name in the package. The heap addon is for one major version of Node only. */
const addons = {
  'build/Release/stillframe.node': `${prebuilds}/stillframe.node`,
  'build/Release/stillframe_heap.node': `${prebuilds}/stillframe_heap-node${major}.node`,
}

clean()
if (process.argv[2] !== '--clean') {
  refuseStaleBuild()
  mkdirSync(prebuilds, { recursive: true })
  for (const [built, packed] of Object.entries(addons)) {
    refuseForeignBuild(built)
    copyFileSync(built, packed)
  }
  vendorXxhash()
  vendorZstd()
}

/** The binaries in the package have to be of the sources in the package. */
function refuseStaleBuild() {
  const built = Object.keys(addons)
  const absent = built.find((file) => !existsSync(file))
  if (absent) fail(`${absent} does not exist`)
  // make leaves a binary alone that a change does not concern: the later one counts.
  const builtAt = Math.max(...built.map((file) => statSync(file).mtimeMs))
  const sources = [
    'binding.gyp',
    ...readdirSync('native', { recursive: true }).map((name) => `native/${name}`),
  ]
  const changed = sources.find(
    (source) =>
      !source.startsWith('native/test') && statSync(source).isFile() && statSync(source).mtimeMs > builtAt,
  )
  if (changed) fail(`${changed} is newer than the addons in build/Release`)
}

/** The name in the package says for which Node it is. */
function refuseForeignBuild(built) {
  try {
    require(path.resolve(built))
  } catch (error) {
    fail(`${built} does not load into Node ${process.version}: ${error.message}`)
  }
}

/** The one header that a source build needs, with the licence that stands at its top. */
function vendorXxhash() {
  const header = readFileSync('node_modules/xxhash-addon/xxHash/xxhash.h', 'utf8')
  const licence = /^\/\*\n([\s\S]*?)\n \*\/\n/.exec(header)?.[1].replace(/^ \* ?/gm, '')
  if (!licence?.includes('Redistribution and use')) fail('xxhash.h does not start with its licence')
  mkdirSync(vendored.xxhash, { recursive: true })
  writeFileSync(`${vendored.xxhash}/xxhash.h`, header)
  writeFileSync(`${vendored.xxhash}/LICENSE`, `${licence}\n`)
}

/** What binding.gyp compiles, and its licence. */
function vendorZstd() {
  const from = 'node_modules/zstd-napi/deps/zstd'
  cpSync(`${from}/lib`, vendored.zstd, { recursive: true })
  copyFileSync(`${from}/LICENSE`, `${vendored.zstd}/LICENSE`)
}

function clean() {
  for (const packed of Object.values(addons)) rmSync(packed, { force: true })
  for (const directory of Object.values(vendored)) rmSync(directory, { recursive: true, force: true })
  for (const directory of [prebuilds, path.dirname(prebuilds), 'vendor']) {
    if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory)
  }
}

function fail(reason) {
  console.error(`prepack: ${reason}; run npm run build:native`)
  process.exit(1)
}
