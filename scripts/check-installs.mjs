#!/usr/bin/env node
// Checks that anyone can install and use the tarball of a release: with every package manager,
// version of Node and module system, in every test runner, as an ordinary user, and without a
// compiler. Prints the tables of docs/PLATFORMS.md.
//
//   node scripts/check-installs.mjs                      everything, with the tarball in
//                                                        build-aside/package/
//   node scripts/check-installs.mjs FILE                 another tarball
//   node scripts/check-installs.mjs --only runners       only these, with commas: managers,
//                                                        runners, chroot
//   node scripts/check-installs.mjs --nodes 20.19.0,24   only these versions of Node
//   node scripts/check-installs.mjs --write              updates docs/PLATFORMS.md if nothing fails
//
// While a package is installed and used, no compiler can be found and no script of a package is
// run. Each cell of the tables is a process that takes snapshots of memory and of objects, lets a
// Worker write to a shared Region, and reads everything back (scripts/installs/consumer/). Node,
// the package managers and the test runners come from the npm registry and stay in
// build-aside/installs/. Linux on x64; `chroot` needs root and debootstrap. Takes half an hour on
// two cores; no process gets more than five minutes. The exit status is 1 if a cell fails.

import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import process from 'node:process'
import { parseArgs } from 'node:util'
import { tryChroot } from './installs/chroot.mjs'
import { tryManagers } from './installs/managers.mjs'
import { tryRunners } from './installs/runners.mjs'
import { Table } from './installs/table.mjs'
import { Tools } from './installs/tools.mjs'

const parts = {
  managers: { title: 'Package manager and module system', run: tryManagers },
  runners: { title: 'Test runner or server', run: tryRunners },
  chroot: { title: 'Debian bookworm without a compiler', run: tryChroot },
}
/** The first one is the oldest version that package.json promises. */
const allNodes = ['20.19.0', '22', '24', '26']

const { values, positionals } = parseArgs({
  options: {
    only: { type: 'string' },
    nodes: { type: 'string' },
    write: { type: 'boolean' },
    help: { type: 'boolean', short: 'h' },
  },
  allowPositionals: true,
})
if (values.help) {
  const [, manual] = /\n((?:\/\/.*\n)+)/.exec(readFileSync(import.meta.filename, 'utf8'))
  console.log(manual.replaceAll(/^\/\/ ?/gm, ''))
  process.exit()
}
const root = path.dirname(import.meta.dirname)
const wanted = values.only?.split(',') ?? Object.keys(parts)
for (const name of wanted) if (!(name in parts)) fail(`${name} is none of ${Object.keys(parts).join(', ')}`)
if (values.write && values.nodes) fail('--write takes all versions of Node, not some')

const home = path.join(root, 'build-aside/installs')
mkdirSync(home, { recursive: true })
const work = mkdtempSync(path.join(os.tmpdir(), 'stillframe-installs-'))
process.on('exit', () => rmSync(work, { recursive: true, force: true }))
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.on(signal, () => process.exit(1))

const tools = new Tools({ home, work, nodes: values.nodes?.split(',') ?? allNodes, tarball: tarball() })
let cells = 0
let faults = 0
for (const name of wanted) {
  const { title, run } = parts[name]
  const table = new Table(title, tools.nodes)
  await run(tools, table)
  console.log(`\n${table.markdown()}`)
  if (values.write && table.faults === 0) write(name, table.markdown())
  cells += table.cells
  faults += table.faults
}
console.log(`check-installs: ${cells} cells, ${faults} failed`)
process.exitCode = faults === 0 ? 0 : 1

function tarball() {
  if (positionals.length > 0) return path.resolve(positionals[0])
  const place = path.join(root, 'build-aside/package')
  const found = readdirSync(place).find((name) => name.endsWith('.tgz'))
  return path.join(place, found ?? fail('npm run package has made no tarball'))
}

/** Replaces the text between the marks of that name. */
function write(name, table) {
  const file = path.join(root, 'docs/PLATFORMS.md')
  const before = readFileSync(file, 'utf8')
  const marks = new RegExp(`(<!-- check-installs: ${name} -->\n)[^]*?(<!-- end -->)`)
  if (!marks.test(before)) fail(`${file} has no place for the table "${name}"`)
  writeFileSync(
    file,
    before.replace(marks, (_, begin, end) => `${begin}\n${table}\n${end}`),
  )
}

function fail(reason) {
  console.error(`check-installs: ${reason}`)
  process.exit(2)
}
