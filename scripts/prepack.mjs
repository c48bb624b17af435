#!/usr/bin/env node
// Adds to the package what saves its users a compiler and a download. Run by `npm pack` and
// `npm publish`:
//
//   node scripts/prepack.mjs           before: prebuilds/<platform>/stillframe.node,
//                                      stillframe_heap-node<major>.node next to it, and source/:
//                                      binding.gyp, native/, and third-party sources
//   node scripts/prepack.mjs --clean   after: removes these files
//
// Also adds THIRD-PARTY-NOTICES.txt and sbom.cdx.json. With STILLFRAME_RELEASE=DIRECTORY in the
// environment, which scripts/package.mjs sets, the binaries are those in DIRECTORY/prebuilds, for
// all platforms and versions of Node, instead of those of this machine. In the package binding.gyp
// is in source/, since package managers compile a package that has one at its root.

import { copyFileSync, cpSync, mkdirSync, rmSync, writeFileSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { builtAddons, whyNotAsBuilt } from './built-addons.mjs'
import { billOfMaterials, licenceAtTopOf, notices } from './package/notices.mjs'

process.chdir(path.dirname(import.meta.dirname))

const [major] = process.versions.node.split('.')
const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const prebuilds = `prebuilds/${process.platform}-${process.arch}-${libc}`
/**
 * The heap addon works with only one major version of Node, which is part of its name in the
 * package.
 */
const packedAddons = {
  [builtAddons.stillframe]: `${prebuilds}/stillframe.node`,
  [builtAddons.heap]: `${prebuilds}/stillframe_heap-node${major}.node`,
}

const release = process.env.STILLFRAME_RELEASE

clean()
if (process.argv[2] !== '--clean') {
  if (release) cpSync(path.join(release, 'prebuilds'), 'prebuilds', { recursive: true })
  else copyAddons()
  const toolchain = release && path.join(release, 'toolchain')
  writeFileSync('THIRD-PARTY-NOTICES.txt', notices(toolchain))
  writeFileSync('sbom.cdx.json', billOfMaterials(toolchain))
  copySource()
  vendorXxhash()
  vendorZstd()
}

function copyAddons() {
  // The binaries in the package must be built from the sources in the package.
  const reason = whyNotAsBuilt()
  if (reason !== undefined) fail(`${reason}; run npm run build:native`)
  mkdirSync(prebuilds, { recursive: true })
  for (const [built, packed] of Object.entries(packedAddons)) copyFileSync(built, packed)
}

function copySource() {
  cpSync('native', 'source/native', { recursive: true, filter: (name) => name !== 'native/test' })
  copyFileSync('binding.gyp', 'source/binding.gyp')
}

/** The files that a source build needs, with the license from the top of the header. */
function vendorXxhash() {
  const from = 'node_modules/xxhash-addon/xxHash'
  mkdirSync('source/vendor/xxhash', { recursive: true })
  for (const name of ['xxhash.h', 'xxh_x86dispatch.h', 'xxh_x86dispatch.c'])
    copyFileSync(`${from}/${name}`, `source/vendor/xxhash/${name}`)
  writeFileSync('source/vendor/xxhash/LICENSE', `${licenceAtTopOf(`${from}/xxhash.h`)}\n`)
}

/** The files that binding.gyp compiles, and their license. */
function vendorZstd() {
  const from = 'node_modules/zstd-napi/deps/zstd'
  cpSync(`${from}/lib`, 'source/vendor/zstd', { recursive: true })
  copyFileSync(`${from}/LICENSE`, 'source/vendor/zstd/LICENSE')
}

function clean() {
  for (const made of ['prebuilds', 'source', 'THIRD-PARTY-NOTICES.txt', 'sbom.cdx.json'])
    rmSync(made, { recursive: true, force: true })
}

function fail(reason) {
  console.error(`prepack: ${reason}`)
  process.exit(1)
}
