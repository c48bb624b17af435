#!/usr/bin/env node
// Puts into the package what spares its users a compiler and a download. Run by `npm pack` and `npm publish`:
//
//   node scripts/prepack.mjs             before: prebuilds/<platform>/stillframe.node, stillframe_heap-node<major>.node
//                                        beside it, and source/: binding.gyp, native/, and what it takes from others
//   node scripts/prepack.mjs --clean     after: takes away what it had put there
//
// prebuilds/ of other platforms and of other versions of Node, laid there by hand for a release, are left alone and
// packed too. In the package binding.gyp lies in source/, since package managers compile what has one at its root.

import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { builtAddons, whyNotAsBuilt } from './built-addons.mjs'

process.chdir(path.dirname(import.meta.dirname))

const [major] = process.versions.node.split('.')
const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const prebuilds = `prebuilds/${process.platform}-${process.arch}-${libc}`
/** The heap addon is for one major version of Node only, and its name in the package says for which. */
const packedAddons = {
  [builtAddons.stillframe]: `${prebuilds}/stillframe.node`,
  [builtAddons.heap]: `${prebuilds}/stillframe_heap-node${major}.node`,
}

clean()
if (process.argv[2] !== '--clean') {
  // The binaries in the package have to be of the sources in the package.
  const reason = whyNotAsBuilt()
  if (reason !== undefined) fail(`${reason}; run npm run build:native`)
  mkdirSync(prebuilds, { recursive: true })
  for (const [built, packed] of Object.entries(packedAddons)) copyFileSync(built, packed)
  copySource()
  vendorXxhash()
  vendorZstd()
}

function copySource() {
  cpSync('native', 'source/native', { recursive: true, filter: (name) => name !== 'native/test' })
  copyFileSync('binding.gyp', 'source/binding.gyp')
}

/** The one header that a source build needs, with the licence that stands at its top. */
function vendorXxhash() {
  const header = readFileSync('node_modules/xxhash-addon/xxHash/xxhash.h', 'utf8')
  const licence = /^\/\*\n([\s\S]*?)\n \*\/\n/.exec(header)?.[1].replace(/^ \* ?/gm, '')
  if (!licence?.includes('Redistribution and use')) fail('xxhash.h does not start with its licence')
  mkdirSync('source/vendor/xxhash', { recursive: true })
  writeFileSync('source/vendor/xxhash/xxhash.h', header)
  writeFileSync('source/vendor/xxhash/LICENSE', `${licence}\n`)
}

/** What binding.gyp compiles, and its licence. */
function vendorZstd() {
  const from = 'node_modules/zstd-napi/deps/zstd'
  cpSync(`${from}/lib`, 'source/vendor/zstd', { recursive: true })
  copyFileSync(`${from}/LICENSE`, 'source/vendor/zstd/LICENSE')
}

function clean() {
  for (const packed of Object.values(packedAddons)) rmSync(packed, { force: true })
  rmSync('source', { recursive: true, force: true })
  for (const directory of [prebuilds, path.dirname(prebuilds)]) {
    if (existsSync(directory) && readdirSync(directory).length === 0) rmdirSync(directory)
  }
}

function fail(reason) {
  console.error(`prepack: ${reason}`)
  process.exit(1)
}
