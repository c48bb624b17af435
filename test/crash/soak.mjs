/**
 * Promise: nothing is lost, wrong or left behind however long a service keeps taking snapshots,
 * whatever happens meanwhile (T24). Proved by rounds of random captures, with random writes during
 * each. Some are aborted, and in some a system call fails. Each file is restored in a random way
 * and compared with the memory at the call. Descriptors, threads, children, mappings and memory
 * must not grow. Part of `npm test` for some seconds; for longer:
 *
 *   node test/crash/soak.mjs --minutes 60 [--seed N] [--directory DIR]
 */

import assert from 'node:assert/strict'
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { inspect, Region, restore, snapshot, verify } from 'stillframe'
import { readValues, snapshotState } from 'stillframe/heap'
import { clearFaults, injectFault } from '../support/faults.mjs'
import { flaggedMappings, footprint, footprintAfter, settledFootprint } from '../support/footprint.mjs'
import { fillPattern, hashOf } from '../support/pattern.mjs'
import { seededRandom, testSeed } from '../support/random.mjs'
import { allVariants, optionsOf, whyNot } from '../support/variants.mjs'

const { values: asked } = parseArgs({
  options: {
    minutes: { type: 'string', default: '10' },
    seed: { type: 'string', default: String(testSeed) },
    directory: { type: 'string', default: tmpdir() },
  },
})
const seed = Number(asked.seed)
const endsAt = performance.now() + Number(asked.minutes) * 60_000
const random = seededRandom(seed)
/** @param {number} below */
const upTo = (below) => Math.floor(random() * below)
/** @template T @param {readonly T[]} list @returns {T} */
const oneOf = (list) => /** @type {T} */ (list[upTo(list.length)])

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc')
const directory = mkdtempSync(join(asked.directory, 'stillframe-soak-'))
process.on('exit', () => rmSync(directory, { recursive: true, force: true }))

/** Calls that may fail without the failure itself leaving anything behind. */
const faults = [
  ...[
    'fsync EIO',
    'pwrite EIO',
    'pwrite ENOSPC',
    'linkat EIO',
    'renameat2 EIO',
    'openat EMFILE',
    'fchmod EPERM',
  ],
  ...[
    'eventfd2 EMFILE',
    'pipe2 EMFILE',
    'clone3 ENOMEM',
    'mmap ENOMEM',
    'madvise ENOMEM',
    'fstat EIO',
    'pread EIO',
  ],
  ...['ppoll EINTR', 'futex EINTR', 'waitid EINTR', 'read EAGAIN', 'userfaultfd EMFILE'],
]

const MiB = 2 ** 20
const regions = [1, 2.3, 8].map((size, index) => {
  const region = Region.allocate(Math.floor(size * MiB), { name: `soak-${index}` })
  fillPattern(region.buffer, index)
  return region
})
const others = [new ArrayBuffer(2 * MiB), new SharedArrayBuffer(MiB), new WebAssembly.Memory({ initial: 16 })]
const variants = allVariants
  .filter((variant) => whyNot(variant) === undefined)
  .map((variant) => optionsOf[variant])

/** Resources that must not grow at all. */
const held = /** @type {const} */ (['descriptors', 'threads', 'children'])
/** Contents of each file, as hashes by section; undefined if the file does not exist. */
/** @type {Map<string, Record<string, string> | undefined>} */
const files = new Map(['a', 'b', 'c'].map((name) => [name, undefined]))
/** @type {Record<string, number>} */
const counts = { saved: 0, aborted: 0, failed: 0, restored: 0, states: 0 }

/** @param {unknown} source @returns {Uint8Array} */
function bytesOf(source) {
  const memory = /** @type {any} */ (source)
  return new Uint8Array(memory.buffer ?? memory)
}

/** Expected contents of all memory: every write is made here too. */
const shadows = new Map(
  [...regions, ...others].map((source) => [/** @type {unknown} */ (source), bytesOf(source).slice()]),
)

/** @param {Record<string, unknown>} sources */
function writeSomewhere(sources) {
  for (const source of Object.values(sources)) {
    const both = [bytesOf(source), /** @type {Uint8Array} */ (shadows.get(source))]
    const { byteLength } = /** @type {Uint8Array} */ (both[0])
    for (let n = upTo(200); n >= 0; n--) {
      const [at, value] = [upTo(byteLength), upTo(256)]
      for (const bytes of both) bytes[at] = value
    }
    if (random() > 0.1) continue
    const [from, to] = [upTo(byteLength), upTo(byteLength)]
    for (const bytes of both) bytes.fill(0, from, to)
  }
}

/** @param {Record<string, unknown>} sources */
function expectNoWriteLost(sources) {
  for (const [section, source] of Object.entries(sources)) {
    assert.equal(Buffer.compare(bytesOf(source), /** @type {Uint8Array} */ (shadows.get(source))), 0, section)
  }
}

/** @param {any} error @param {boolean} provoked */
function expectOneOfOurs(error, provoked) {
  if (error?.name === 'AbortError') return
  assert.equal(error?.name, 'StillframeError', error?.stack)
  const expected = provoked || ['ERR_STILLFRAME_MEMORY_LIMIT', 'ERR_STILLFRAME_BUSY'].includes(error.code)
  assert.ok(expected, `not provoked: ${error.stack}`)
}

/** @param {string} name @param {boolean} provoked */
async function save(name, provoked) {
  const inProcess = variants.filter(({ engine }) => engine !== 'fork')
  const regionsOnly = inProcess.length > 0 && random() < 0.7
  /** @type {Record<string, unknown>} */
  const sources = {}
  for (let n = upTo(3); n >= 0; n--) {
    const source = regionsOnly || random() < 0.5 ? oneOf(regions) : oneOf(others)
    if (!Object.values(sources).includes(source)) sources[`section ${n}`] = source
  }
  const variant = regionsOnly ? oneOf(variants) : optionsOf.fork
  const abort = new AbortController()
  const options = {
    ...variant,
    compression: oneOf(/** @type {const} */ (['none', 'zstd'])),
    durable: random() < 0.5,
    memoryLimit: oneOf([MiB, 16 * MiB, 1024 * MiB]),
    onMemoryLimit: /** @type {'wait' | 'abort'} */ (
      variant.engine === 'fork' ? 'abort' : oneOf(['wait', 'abort'])
    ),
    metadata: { seed, name },
    signal: abort.signal,
    ...(random() < 0.2 ? { maxBytesPerSecond: 64 * MiB } : {}),
  }
  const hashes = Object.fromEntries(
    Object.entries(sources).map(([key, source]) => [key, hashOf(bytesOf(source))]),
  )
  const abortsAt = random() < 0.2 ? performance.now() + random() * 30 : Number.POSITIVE_INFINITY
  let pending = true
  try {
    const shot = snapshot(/** @type {any} */ (sources), join(directory, name), options)
    const done = shot.done.finally(() => {
      pending = false
    })
    done.catch(() => {})
    while (pending) {
      writeSomewhere(sources)
      if (performance.now() > abortsAt) abort.abort()
      await new Promise((resolve) => setImmediate(resolve))
    }
    await done
    files.set(name, hashes)
    counts.saved++
  } catch (error) {
    expectOneOfOurs(error, provoked)
    const which = /** @type {any} */ (error).name === 'AbortError' ? 'aborted' : 'failed'
    counts[which] = (counts[which] ?? 0) + 1
  }
  expectNoWriteLost(sources)
}

/** @param {string} name @param {boolean} provoked */
async function restoreAndCompare(name, provoked) {
  const hashes = files.get(name)
  const path = join(directory, name)
  if (hashes === undefined)
    return assert.ok(!readdirSync(directory).includes(name), `${name} was not to be made`)
  try {
    const sections = Object.keys(hashes)
    const { layout } = await inspect(path)
    const into = Object.fromEntries(sections.map((section) => [section, new ArrayBuffer(8 * MiB)]))
    const way = oneOf([
      { mode: /** @type {const} */ ('copy') },
      { into },
      ...(layout === 'flat' ? [{}, { prefetch: true }, { verify: false }] : []),
    ])
    const restored = await restore(path, way)
    const check = await verify(path)
    for (const [section, hash] of Object.entries(hashes)) {
      const region = restored.regions[section]
      const whole = 'into' in way ? new Uint8Array(/** @type {any} */ (into[section])) : bytesOf(region)
      const { byteLength = 0 } = restored.info.sections.find((each) => each.name === section) ?? {}
      assert.equal(
        hashOf(whole.subarray(0, byteLength)),
        hash,
        `${name}, ${section}, restored by ${Object.keys(way)}`,
      )
    }
    restored.close()
    assert.ok(check.ok || provoked, JSON.stringify(check.problems))
    counts.restored = (counts.restored ?? 0) + 1
  } catch (error) {
    if (/** @type {any} */ (error).name === 'AssertionError') throw error
    expectOneOfOurs(error, provoked)
  }
}

/** @param {boolean} abortIt */
async function saveState(abortIt) {
  const path = join(directory, 'state')
  const state = new Map(Array.from({ length: 1000 }, (_, index) => [index, { at: index, value: random() }]))
  const expected = new Map(state)
  const job = snapshotState(path, (out) => out.value(state))
  state.clear()
  if (abortIt) job.abort()
  try {
    await job.done
  } catch (error) {
    return assert.equal(/** @type {any} */ (error).name, 'AbortError')
  }
  for await (const value of readValues(path)) assert.deepEqual(value, expected)
  counts.states = (counts.states ?? 0) + 1
}

function measured() {
  collectGarbage()
  const status = readFileSync('/proc/self/smaps_rollup', 'utf8')
  const [, resident] = /** @type {RegExpExecArray} */ (/^Rss: +(\d+) kB/m.exec(status))
  // V8 doubles the pages of its young generation, of 256 KiB each, when it sees fit.
  const ours = flaggedMappings().filter(
    ({ start, end, flags }) => end - start !== 2 ** 18 || !flags.includes('dc'),
  )
  return { ...footprint(), mappings: ours.length, residentMiB: Math.round(Number(resident) / 1024) }
}

async function round() {
  const [first = '', second = ''] = [...files.keys()].sort(() => random() - 0.5)
  const fault = random() < 0.4 ? oneOf(faults) : undefined
  if (fault !== undefined) {
    const [call = '', error = ''] = fault.split(' ')
    injectFault(call, 1 + upTo(oneOf([3, 30])), error, error !== 'EINTR' && random() < 0.2)
  }
  const provoked = fault !== undefined
  await Promise.all([save(first, provoked), ...(random() < 0.4 ? [save(second, provoked)] : [])])
  if (random() < 0.5) clearFaults()
  await restoreAndCompare(first, provoked)
  clearFaults()
  await restoreAndCompare(second, false)
  await restoreAndCompare(first, false)
  if (random() < 0.1) await saveState(random() < 0.3)
}

console.log(`seed ${seed}, ${asked.minutes} minutes, in ${directory}`)
/** @type {ReturnType<typeof measured>[]} */
const measurements = []
let rounds = 0
await stat(directory) // starts libuv's threads, which remain
// Everything else that is allocated only once, by V8, comes in the first rounds.
while (performance.now() < endsAt || rounds < 40) {
  await round()
  rounds++
  if (rounds % 10 !== 0) continue
  await (measurements[1] ? footprintAfter(measurements[1]) : settledFootprint())
  const now = measured()
  measurements.push(now)
  const before = measurements[1] ?? now
  for (const key of held) {
    assert.ok(now[key] <= before[key], `${key}: ${before[key]} after 20 rounds, ${now[key]} after ${rounds}`)
  }
  if (rounds % 100 === 0) console.log(`${rounds} rounds ${JSON.stringify({ ...counts, ...now })}`)
}

const leftover = readdirSync(directory).filter((name) => name.startsWith('.'))
await snapshot(new Uint8Array(1), join(directory, 'last')).done // removes what a failed unlink has left
assert.deepEqual(
  readdirSync(directory).filter((name) => name.startsWith('.')),
  [],
  `swept: ${leftover}`,
)

// Memory kept by V8 and malloc fluctuates by tens of MiB, and on a busy machine there are only four
// measurements. Leaked memory remains: even the minimum of the second half would then be far above
// the maximum of the first.
const half = measurements.length >> 1
for (const [key, slack] of /** @type {const} */ ([
  ['mappings', 100],
  ['residentMiB', 64],
])) {
  const early = Math.max(...measurements.slice(0, half).map((each) => each[key]))
  const late = Math.min(...measurements.slice(half).map((each) => each[key]))
  console.log(`${key}: at most ${early} in the first half, at least ${late} in the second`)
  assert.ok(late <= early + slack, `${key} grew from ${early} to ${late}`)
}
console.log(`${rounds} rounds, all as promised: ${JSON.stringify({ ...counts, ...measurements.at(-1) })}`)
