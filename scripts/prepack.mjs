#!/usr/bin/env node
// Puts into the package what spares its users a compiler and a download. Run by `npm pack` and `npm publish`:
//
//   node scripts/prepack.mjs             before: prebuilds/<platform>/stillframe.node and vendor/xxhash/
//   node scripts/prepack.mjs --clean     after: takes away what it had put there
//
// prebuilds/ of other platforms, laid there by hand for a release, are left alone and packed too. While
// prebuilds/ has an addon for this platform it is loaded instead of build/Release; hence the cleaning.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'

const root = path.dirname(path.dirname(fileURLToPath(import.meta.url)))
process.chdir(root)

const built = 'build/Release/stillframe.node'
const libc = process.report.getReport().header.glibcVersionRuntime ? 'glibc' : 'musl'
const prebuilds = `prebuilds/${process.platform}-${process.arch}-${libc}`
const vendored = 'vendor/xxhash'

clean()
if (process.argv[2] !== '--clean') {
  refuseStaleBuild()
  mkdirSync(prebuilds, { recursive: true })
  copyFileSync(built, `${prebuilds}/stillframe.node`)
  vendorXxhash()
}

/** The binary in the package has to be of the sources in the package. */
function refuseStaleBuild() {
  if (!existsSync(built)) fail(`${built} does not exist`)
  const sources = [
    'binding.gyp',
    ...readdirSync('native', { recursive: true }).map((name) => `native/${name}`),
  ]
  const changed = sources.find(
    (source) =>
      !source.startsWith('native/test') &&
      statSync(source).isFile() &&
      statSync(source).mtime > statSync(built).mtime,
  )
  if (changed) fail(`${changed} is newer than ${built}`)
}

/** The one header that a source build needs, with the licence that stands at its top. */
function vendorXxhash() {
  const header = readFileSync('node_modules/xxhash-addon/xxHash/xxhash.h', 'utf8')
  const licence = /^\/\*\n([\s\S]*?)\n \*\/\n/.exec(header)?.[1].replace(/^ \* ?/gm, '')
  if (!licence?.includes('Redistribution and use')) fail('xxhash.h does not start with its licence')
  mkdirSync(vendored, { recursive: true })
  writeFileSync(`${vendored}/xxhash.h`, header)
  writeFileSync(`${vendored}/LICENSE`, `${licence}\n`)
}

function clean() {
  for (const directory of [prebuilds, vendored]) {
    rmSync(directory, { recursive: true, force: true })
    const parent = path.dirname(directory)
    if (existsSync(parent) && readdirSync(parent).length === 0) rmdirSync(parent)
  }
}

function fail(reason) {
  console.error(`prepack: ${reason}; run npm run build:native`)
  process.exit(1)
}
