#!/usr/bin/env node
// Makes the package of a release: the addons for every platform and every version of Node, all
// compiled on this machine, and the tarball that contains them. Needs Linux on x64, make, Python 3,
// readelf (binutils) and the npm registry, which also provides the compiler; see
// scripts/package/toolchain/.
//
//   npm run package                       everything; the tarball is in build-aside/package/
//   npm run package -- --only x64-glibc   compiles and checks only this target (several with
//                                         commas), packs nothing
//   npm run package -- --nodes 20,24      compiles heap addons for these only, packs nothing
//   npm run package -- --twice x64-musl   compiles a target once more, elsewhere and from scratch:
//                                         the bytes must be the same. With --nodes, only for those
//                                         versions
//
// Compiled files stay in build-aside/package/ and are used again if the sources are the same. Every
// binary is checked as described in scripts/check-binaries.mjs, and the tarball for its size
// (scripts/package/targets.mjs); a fault ends the run with status 1. STILLFRAME_JOBS is the number
// of compilers that may run at a time (default: 2).

import { spawnSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { checkAll } from './check-binaries.mjs'
import { compile, installToolchain } from './package/compile.mjs'
import { addonNames, nodeMajors, sizeLimits, targets } from './package/targets.mjs'

const { values } = parseArgs({
  options: { only: { type: 'string' }, nodes: { type: 'string' }, twice: { type: 'string' } },
})
const root = path.dirname(import.meta.dirname)
process.chdir(root)
const place = path.join(root, 'build-aside/package')
const jobs = Number(process.env.STILLFRAME_JOBS ?? 2)
const names = listOf(values.twice ?? values.only, Object.keys(targets))
const majors = listOf(values.nodes, nodeMajors.map(String)).map(Number)

const toolchain = installToolchain(place)
if (values.twice) compareTwo()
else {
  for (const name of names) build(name, place)
  check(path.join(place, 'prebuilds'))
  if (!values.only && !values.nodes) pack()
}

function build(name, where) {
  const started = performance.now()
  console.log(`package: compiling for ${name}, Node ${majors.join(', ')}`)
  const into = path.join(where, `prebuilds/linux-${name}`)
  rmSync(into, { recursive: true, force: true })
  compile({ name, place: where, into, majors, jobs, toolchain })
  console.log(`package: compiled for ${name} in ${Math.round((performance.now() - started) / 1000)} s`)
  return into
}

function check(prebuilds) {
  const nodes = majors.map((major) => [String(major), path.join(toolchain.headers(major), 'bin/node')])
  if (checkAll(prebuilds, { only: names, nodes, notInIt: [root, os.homedir()] }) > 0)
    fail('a binary is faulty')
}

/** Builds the same sources in another directory, with an empty cache. */
function compareTwo() {
  const elsewhere = mkdtempSync(path.join(os.tmpdir(), 'stillframe-package-'))
  try {
    for (const name of names) {
      const once = sumsOf(build(name, place))
      process.env.ZIG_GLOBAL_CACHE_DIR = path.join(elsewhere, 'cache')
      const again = sumsOf(build(name, elsewhere))
      delete process.env.ZIG_GLOBAL_CACHE_DIR
      for (const [file, sum] of once) {
        if (again.get(file) !== sum) fail(`${name}/${file} is not the same when it is compiled again`)
        console.log(`${sum}  ${name}/${file}`)
      }
    }
    console.log('package: two builds are the same')
  } finally {
    rmSync(elsewhere, { recursive: true, force: true })
  }
}

function sumsOf(directory) {
  const sum = (name) =>
    createHash('sha256')
      .update(readFileSync(path.join(directory, name)))
      .digest('hex')
  return new Map(readdirSync(directory).map((name) => [name, sum(name)]))
}

function pack() {
  for (const name of Object.keys(targets)) {
    const present = readdirSync(path.join(place, `prebuilds/linux-${name}`))
    const missing = addonNames.filter((addon) => !present.includes(addon))
    if (missing.length > 0) fail(`${name} lacks ${missing.join(', ')}`)
  }
  for (const old of tarballs()) rmSync(old)
  const { status } = spawnSync('npm', ['pack', '--pack-destination', place], {
    env: { ...process.env, STILLFRAME_RELEASE: place },
    stdio: ['ignore', 'inherit', 'inherit'],
  })
  if (status !== 0) fail('npm pack failed')
  for (const file of tarballs()) {
    const { size } = statSync(file)
    console.log(`${path.relative(root, file)}: ${size} bytes, of ${sizeLimits.tarball} that it may have`)
    if (size > sizeLimits.tarball) fail('the tarball is too large')
  }
}

function tarballs() {
  return readdirSync(place)
    .filter((name) => name.endsWith('.tgz'))
    .map((name) => path.join(place, name))
}

function listOf(text, all) {
  const chosen = text?.split(',') ?? all
  for (const each of chosen) if (!all.includes(each)) fail(`${each} is none of ${all.join(', ')}`)
  return chosen
}

function fail(reason) {
  console.error(`package: ${reason}`)
  process.exit(1)
}
