#!/usr/bin/env node
// Checks the binaries of a release without running them: that they load where the package says they
// do, and that they contain nothing that does not belong there.
//
//   node scripts/check-binaries.mjs PREBUILDS    every PREBUILDS/linux-<arch>-<libc>/*.node
//     --only x64-musl                            only this target; several with commas
//     --node 24=/bin/node                        also checks imports against this Node
//
// Each binary must be built for its processor; need only the C library, and no glibc symbol newer
// than 2.28; import from Node only what Node has; export only its entry points; be stripped,
// contain no path of this machine, have segments for pages of 64 KiB on arm64, and stay within its
// size limit. Needs readelf (binutils). Prints a line for each binary and each fault; the exit
// status is 1 if there is a fault.

import { spawnSync } from 'node:child_process'
import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs'
import path from 'node:path'
import process from 'node:process'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { oldestGlibc, sizeLimits, targets } from './package/targets.mjs'

const machines = { x64: 'Advanced Micro Devices X86-64', arm64: 'AArch64' }
const libraries = {
  glibc: /^(lib(c|m)\.so\.6|lib(pthread|rt)\.so\.[01]|libdl\.so\.2|ld-linux-(x86-64\.so\.2|aarch64\.so\.1))$/,
  // musl provides all of its libraries under this name.
  musl: /^libc\.so$/,
}
const entryPoints = ['napi_register_module_v1', 'node_api_module_get_api_version_v1']
/**
 * Node's symbols for addons. They must not contain types of Node's C++ library, since ours is a
 * different one, with other layouts.
 */
const ofNode = /^(uv_|napi_|node_api_|_ZT?[VIS]?N?K?(2v8|4node))/
/**
 * Functions that take a std::shared_ptr, which is passed in libstdc++'s layout: see
 * native/addon/shared_store.h.
 */
const withSharedStore = /^_ZN2v8(11|17Shared)ArrayBuffer3NewEPNS_7IsolateESt10shared_ptrINS_12BackingStoreEE$/

/**
 * Returns the faults of a binary as sentences.
 *
 * @param {string} file
 * @param {{ target: string, exportsOf?: Map<string, Set<string>>, limit?: number, notInIt?:
 *   string[] }} expected - `target` is a name from scripts/package/targets.mjs, `exportsOf` has the
 *   symbols of Node by major version, `notInIt` is text that must not occur.
 */
export function faultsOf(file, { target, exportsOf = new Map(), limit = sizeLimits.addon, notInIt = [] }) {
  const faults = []
  const { arch } = targets[target]
  const libc = target.split('-')[1]

  const machine = /Machine:\s+(.*)/.exec(readelf('-h', file))?.[1]
  if (machine !== machines[arch]) faults.push(`it is for ${machine}, not for ${machines[arch]}`)

  const needed = [...readelf('-d', file).matchAll(/\(NEEDED\).*\[(.*)\]/g)].map(([, name]) => name)
  for (const name of needed) if (!libraries[libc].test(name)) faults.push(`it needs ${name}`)

  const { defined, undefined: wanted } = symbolsOf(file)
  for (const { name } of defined) if (!entryPoints.includes(name)) faults.push(`it shows ${name}`)
  for (const name of entryPoints)
    if (!defined.some((symbol) => symbol.name === name)) faults.push(`it does not show ${name}`)

  const major = /-node(\d+)\.node$/.exec(file)?.[1]
  const nodes = [...exportsOf].filter(([each]) => major === undefined || each === major)
  for (const { name, version, weak } of wanted) {
    if (version !== undefined) {
      const [, family, number] = /^([A-Z]+)_(.*)$/.exec(version) ?? []
      if (libc !== 'glibc' || family !== 'GLIBC') faults.push(`it takes ${name}@${version}`)
      else if (isLater(number, oldestGlibc)) faults.push(`it takes ${name} of glibc ${number}`)
    } else if (!ofNode.test(name)) {
      // musl has no symbol versions.
      if (!weak && (libc === 'glibc' || name.startsWith('_Z'))) faults.push(`nobody has ${name}`)
    } else if (/St\d|NSt|__1/.test(name) && !withSharedStore.test(name)) {
      faults.push(`it hands a type of the C++ library to Node: ${name}`)
    } else if (!weak) {
      for (const [each, exports] of nodes)
        if (!exports.has(name)) faults.push(`Node ${each} does not have ${name}`)
    }
  }

  const sections = readelf('-S', file)
  if (/\s\.(symtab|debug_info)\s/.test(sections)) faults.push('it is not stripped')
  if (arch === 'arm64')
    for (const [, align] of readelf('-l', file).matchAll(/^\s+LOAD .*\s(0x[0-9a-f]+)$/gm))
      if (Number(align) < 0x10000) faults.push(`a segment is aligned to ${align}: not for pages of 64 KiB`)
  const flags = readelf('-d', file)
  if (libc === 'musl' && /FLAGS.*STATIC_TLS/.test(flags))
    faults.push('it has thread-local variables that musl does not load (initial-exec)')
  for (const flag of ['NOW', 'NODELETE'])
    if (!new RegExp(`FLAGS.*\\b${flag}\\b`).test(flags))
      faults.push(`it was linked without -z ${flag.toLowerCase()}`)

  const bytes = readFileSync(file)
  for (const text of notInIt) if (bytes.includes(text)) faults.push(`the path ${text} is in it`)
  if (bytes.length > limit) faults.push(`it has ${bytes.length} bytes, and may have ${limit}`)
  return faults
}

/** The dynamic symbols, without their versions. */
function symbolsOf(file) {
  const result = { defined: [], undefined: [] }
  for (const line of readelf('--dyn-syms', file).split('\n')) {
    //   Num: Value Size Type Bind Vis Ndx Name@Version (n)
    const [number, , , , bind, , index, name] = line.trim().split(/\s+/)
    if (!/^\d+:$/.test(number) || !name) continue
    const [plain, version] = name.split(/@+/)
    const symbol = { name: plain, version, weak: bind === 'WEAK' }
    if (index === 'UND') result.undefined.push(symbol)
    else if (index !== 'ABS') result.defined.push(symbol)
  }
  return result
}

/** The names of the symbols that an executable exports to its addons. */
export function exportsOfNode(executable) {
  return new Set(symbolsOf(executable).defined.map(({ name }) => name))
}

function isLater(version, than) {
  const [a, b] = [version, than].map((each) => each.split('.').map(Number))
  for (let i = 0; i < Math.max(a.length, b.length); i++)
    if ((a[i] ?? 0) !== (b[i] ?? 0)) return (a[i] ?? 0) > (b[i] ?? 0)
  return false
}

function readelf(option, file) {
  const { status, stdout, stderr, error } = spawnSync('readelf', ['-W', option, file], {
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
    env: { ...process.env, LC_ALL: 'C' },
  })
  if (status !== 0) throw error ?? new Error(`readelf ${option} ${file}: ${stderr}`)
  return stdout
}

/** Checks all binaries in a directory of prebuilds; returns the number of faults. */
export function checkAll(prebuilds, { only = Object.keys(targets), nodes = [], notInIt = [] } = {}) {
  const exportsOf = new Map(nodes.map(([major, executable]) => [major, exportsOfNode(executable)]))
  let count = 0
  let faulty = 0
  for (const target of only) {
    const place = path.join(prebuilds, `linux-${target}`)
    const files = existsSync(place) ? readdirSync(place).filter((name) => name.endsWith('.node')) : []
    if (files.length === 0) {
      console.error(`${place}: no binaries`)
      faulty++
    }
    for (const name of files) {
      const file = path.join(place, name)
      const faults = faultsOf(file, { target, exportsOf, notInIt })
      console.log(`${target}/${name}: ${statSync(file).size} bytes${faults.length === 0 ? '' : ', FAULTY'}`)
      for (const fault of faults) console.error(`  ${fault}`)
      count++
      faulty += faults.length
    }
  }
  console.log(`check-binaries: ${count} binaries, ${faulty} faults`)
  return faulty
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const { values, positionals } = parseArgs({
    options: { only: { type: 'string' }, node: { type: 'string', multiple: true, default: [] } },
    allowPositionals: true,
  })
  if (positionals.length !== 1) {
    console.error('check-binaries: name the directory of the prebuilds')
    process.exit(2)
  }
  const nodes = values.node.map((each) => each.split('='))
  const root = path.dirname(import.meta.dirname)
  process.exitCode =
    checkAll(positionals[0], { only: values.only?.split(','), nodes, notInIt: [root] }) > 0 ? 1 : 0
}
