/**
 * Prints a row of the table of filesystems in docs/PLATFORMS.md: row.mjs [--head] DIRECTORY NAME.
 * The program observes each cell in the directory, or fails: how a snapshot got its name and
 * replaced an older file (from its system calls, shown by strace), what a killed service left
 * behind, and how a restore and an archive behaved.
 */

import { spawn, spawnSync } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { preflight, Region, restore, snapshot, verify } from 'stillframe'
import { openArchive } from 'stillframe/archive'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { waitUntil } from '../support/processes.mjs'

const columns = [
  'filesystem',
  'while it is written',
  'a new name is given by',
  'an older file is replaced by',
  'sync of data, of names',
  'writes past the cache',
  'left by a kill at the sync',
  'modes',
  'free space',
  'map, copy, lazy',
  'huge pages of a map',
  'archive: one writer, killed, opened again',
]
const args = process.argv.slice(2)
if (args[0] === '--head') {
  console.log(`| ${columns.join(' | ')} |\n|${columns.map(() => '---').join('|')}|`)
  process.exit(0)
}
const [place = '', name = ''] = args
const directory = mkdtempSync(join(place, 'row-'))
const program = fileURLToPath(new URL('fixtures/two-snapshots.mjs', import.meta.url))
const writer = fileURLToPath(new URL('fixtures/archive-writer.mjs', import.meta.url))

const cells = [
  name,
  ...named(),
  await leftByKill(),
  modes(),
  await freeSpace(),
  ...(await restored()),
  await archived(),
]
rmSync(directory, { recursive: true, force: true, maxRetries: 5 })
console.log(`| ${cells.join(' | ')} |`)

/**
 * @param {boolean} holds
 * @param {string} what
 */
function must(holds, what) {
  if (!holds) throw new Error(`${name}: ${what}`)
}

/** The calls in a trace of strace, each at the point where it returned. @param {string} trace */
function callsOf(trace) {
  const begun = new Map()
  return trace.split('\n').flatMap((line) => {
    const [, thread = '', text = ''] = /^(\d+) +(.*)$/.exec(line) ?? []
    const unfinished = /^(.*?) *<unfinished \.\.\.>$/.exec(text)
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(text)
    if (unfinished) begun.set(thread, unfinished[1])
    if (unfinished) return []
    return [resumed ? begun.get(thread) + resumed[1] : text]
  })
}

/**
 * How a first snapshot (which must not overwrite) and a second one (which does) got their names.
 */
function named() {
  const trace = join(directory, 'trace')
  const path = join(directory, 'named')
  const traced = 'openat,linkat,renameat2,fsync,fcntl,pwrite64,unlinkat'
  const { status, stderr } = spawnSync(
    'strace',
    ['-f', '-y', '-qq', '-s', '0', '-o', trace, '-e', `trace=${traced}`, process.execPath, program, path],
    { encoding: 'utf8', timeout: 120_000 },
  )
  must(status === 0, `two snapshots failed: ${stderr}`)
  const calls = callsOf(readFileSync(trace, 'utf8'))
  rmSync(trace)
  const second = calls.findIndex((call) => call.includes(`${path}-between`))
  must(second > 0, 'the trace has no border between the two')
  const [fresh, again] = [calls.slice(0, second), calls.slice(second)]
  const succeeded = (/** @type {string[]} */ of, /** @type {RegExp} */ pattern) =>
    of.some((call) => pattern.test(call) && /\) += \d/.test(call))

  const nameless = succeeded(fresh, /O_TMPFILE/)
  const linked = succeeded(fresh, /^linkat\(.*"named"/)
  const noReplace = succeeded(fresh, /^renameat2\(.*"named", RENAME_NOREPLACE/)
  const placeholder = succeeded(fresh, /^openat\(.*"named", .*O_EXCL/)
  must(linked || noReplace || placeholder, 'no way to a new name is known')
  const exchanged = succeeded(again, /^renameat2\(.*RENAME_EXCHANGE/)
  const kept = succeeded(again, /^linkat\(.*"named", .*tmp"/)
  must(exchanged || succeeded(again, /^renameat2\(.*"named", 0/), 'no way to replace is known')
  const asked = fresh.some((call) => /F_SETFL, .*O_DIRECT/.test(call) && / = 0/.test(call))
  const taken = asked && !fresh.some((call) => /^pwrite64\(.*= -1 EINVAL/.test(call))
  // The path shown by -y is that of the directory itself, with no file name after it.
  const syncs = (/** @type {boolean} */ ofDirectory) =>
    [...fresh, ...again].filter(
      (call) => call.startsWith('fsync(') && call.includes(`${directory}>`) === ofDirectory,
    )
  const synced = (/** @type {string[]} */ of) => of.length >= 2 && of.every((call) => / = 0$/.test(call))
  must(synced(syncs(false)), 'the data was not synced')

  return [
    nameless ? 'no name' : 'a temporary name',
    linked ? 'link' : noReplace ? 'rename that does not replace' : 'rename over an empty file',
    exchanged
      ? 'exchange'
      : kept
        ? 'rename; the older one is kept by a link until then'
        : 'rename; the older one cannot be put back',
    `yes, ${synced(syncs(true)) ? 'yes' : 'refused (EINVAL)'}`,
    taken ? 'yes' : asked ? 'refused at the first one' : 'refused',
  ]
}

/**
 * Kills a snapshot that replaces an older one just before it syncs, and describes the files that
 * are left.
 */
async function leftByKill() {
  const inner = join(directory, 'killed')
  mkdirSync(inner)
  const path = join(inner, 'file')
  await snapshot(new Uint8Array(10), path, { metadata: 'old' }).done
  const kill = ['-e', 'trace=fsync', '-e', 'inject=fsync:signal=SIGKILL:when=1']
  const { signal } = spawnSync(
    'strace',
    ['-f', '-qq', '-o', '/dev/null', ...kill, process.execPath, program, path],
    { timeout: 120_000 },
  )
  must(signal === 'SIGKILL', 'the service was not killed')
  const left = readdirSync(inner).filter((one) => one !== 'file')
  const { ok } = await verify(path)
  must(ok && statSync(path).size < 1 << 20, 'the older file is not as it was')
  await snapshot(new Uint8Array(10), path).done
  await waitUntil(() => readdirSync(inner).length === 1, 'what was left is swept')
  return left.length === 0 ? 'nothing' : 'a temporary file, which the next snapshot removes'
}

function modes() {
  const path = join(directory, 'mode')
  writeFileSync(path, '', { mode: 0o640 })
  const mode = statSync(path).mode & 0o777
  rmSync(path)
  return mode === 0o640 ? 'yes' : `all files have 0o${mode.toString(8)}`
}

async function freeSpace() {
  const { freeDiskBytes } = await preflight(new Uint8Array(1), join(directory, 'free'))
  return freeDiskBytes === Number.POSITIVE_INFINITY ? 'not told' : 'told'
}

async function restored() {
  const path = join(directory, 'restored')
  const region = Region.allocate(16 << 20)
  fillPattern(region.buffer, 1)
  const expected = hashOf(region.buffer)
  await snapshot(region, path).done
  let huge = 0
  for (const mode of /** @type {const} */ (['map', 'copy', 'lazy'])) {
    const back = await restore(path, { mode })
    await back.ready
    const { main } = back.regions
    must(main !== undefined && hashOf(main.buffer) === expected, `mode ${mode} gives other bytes`)
    if (mode === 'map') huge = hugeOf(path)
    back.close()
  }
  return ['yes, yes, yes', huge === 0 ? 'no' : `${huge / 1024} of 16 MiB`]
}

/** KiB of mappings of a file that are on huge pages. @param {string} path */
function hugeOf(path) {
  let ours = false
  let sum = 0
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) ours = line.endsWith(path)
    else if (ours && /^(FilePmdMapped|ShmemPmdMapped|AnonHugePages):/.test(line))
      sum += Number(/(\d+) kB/.exec(line)?.[1])
  }
  return sum
}

async function archived() {
  const archive = join(directory, 'archive')
  const child = spawn(process.execPath, [writer, archive], { stdio: ['ignore', 'pipe', 'inherit'] })
  await new Promise((resolve, reject) => {
    child.stdout.once('data', resolve)
    child.once('exit', () => reject(new Error(`${name}: the writer of an archive has ended`)))
  })
  const refused = await openArchive(archive).catch((/** @type {any} */ error) => error.code)
  must(refused === 'ERR_STILLFRAME_BUSY', `a second writer was not refused: ${refused}`)
  const ended = new Promise((resolve) => void child.once('exit', resolve))
  child.kill('SIGKILL')
  await ended
  const again = await openArchive(archive)
  const back = await again.restore()
  must(back.frame.number >= 2, 'the frames of the killed writer are not there')
  back.close()
  await again.close()
  return 'yes'
}
