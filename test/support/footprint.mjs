/** Kernel resources that a process holds. They must be the same after a capture as before it. */

import { readdirSync, readFileSync, readlinkSync } from 'node:fs'
import { setTimeout as pause } from 'node:timers/promises'
import { childrenOf, threadsNamed } from './processes.mjs'

/** Descriptors of this process and their targets, without the descriptor that lists them. */
export function openDescriptors() {
  return readdirSync('/proc/self/fd').flatMap((fd) => {
    try {
      return [`${fd} -> ${readlinkSync(`/proc/self/fd/${fd}`)}`]
    } catch {
      return []
    }
  })
}

/** Waits up to 30 s for the thread that reassembles huge pages after a capture to end by itself. */
function waitForHugePages() {
  const sleeper = new Int32Array(new SharedArrayBuffer(4))
  const isAtWork = () => threadsNamed('stillframe-huge').length > 0
  for (let i = 0; i < 3000 && isAtWork(); i++) Atomics.wait(sleeper, 0, 0, 10)
}

/** Counts that only a leak changes, except for the mappings, which V8 also changes by a few. */
export function footprint() {
  waitForHugePages()
  return {
    descriptors: openDescriptors().length,
    mappings: readFileSync('/proc/self/maps', 'utf8').split('\n').length,
    threads: readdirSync('/proc/self/task').length,
    children: childrenOf(process.pid).length,
  }
}

/** @typedef {'descriptors' | 'threads' | 'children'} Counted */
/** @type {readonly Counted[]} */
const counted = ['descriptors', 'threads', 'children']

/**
 * The footprint once everything that ends by itself has ended: a background thread may have a
 * descriptor open before it has a name. Waits until nothing has changed for 200 ms, for 30 s at
 * most.
 */
export async function settledFootprint() {
  let now = footprint()
  for (let same = 0, tries = 0; same < 10 && tries < 1500; tries++) {
    await pause(20)
    const last = now
    now = footprint()
    same = counted.every((kind) => now[kind] === last[kind]) ? same + 1 : 0
  }
  return now
}

/**
 * The footprint as soon as no count exceeds the one before, or after 30 s.
 *
 * @param {ReturnType<typeof footprint>} before
 * @param {readonly Counted[]} [kinds]
 */
export async function footprintAfter(before, kinds = counted) {
  let now = footprint()
  for (let tries = 0; kinds.some((kind) => now[kind] > before[kind]) && tries < 1500; tries++) {
    await pause(20)
    now = footprint()
  }
  return now
}

/**
 * The excess over the earlier footprint, once everything that ends by itself has ended; {} if there
 * is none.
 *
 * @param {ReturnType<typeof footprint>} before
 * @param {readonly Counted[]} [kinds]
 */
export async function leftSince(before, kinds = counted) {
  const now = await footprintAfter(before, kinds)
  const more = kinds.filter((kind) => now[kind] > before[kind])
  if (more.length === 0) return {}
  return {
    ...Object.fromEntries(more.map((kind) => [kind, now[kind] - before[kind]])),
    open: openDescriptors(),
  }
}

/**
 * The footprint before and after many rounds, all of which may leave garbage. One-time costs of the
 * first rounds (the thread's cached stack, malloc's arenas, compiled code) count as present before.
 * Needs --expose-gc.
 *
 * @param {number} count
 * @param {(index: number) => Promise<void>} round
 */
export async function footprintsAround(count, round) {
  for (let index = 0; index < 50; index++) await round(index)
  global.gc?.()
  const before = await settledFootprint()
  for (let index = 0; index < count; index++) {
    await round(index)
    if (index % 50 === 0) global.gc?.()
  }
  global.gc?.()
  return { before, after: await footprintAfter(before) }
}

/** Signal masks and dispositions of this thread, as /proc prints them. */
export function signalState() {
  const status = readFileSync('/proc/thread-self/status', 'utf8')
  return status.split('\n').filter((line) => /^(SigBlk|SigIgn|SigCgt|SigPnd|ShdPnd):/.test(line))
}

/**
 * The mappings in /proc/self/smaps, with their addresses and flags.
 *
 * @returns {{ start: number, end: number, flags: string[] }[]}
 */
export function flaggedMappings() {
  /** @type {{ start: number, end: number, flags: string[] }[]} */
  const mappings = []
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [, start, end] = /^([0-9a-f]+)-([0-9a-f]+) /.exec(line) ?? []
    if (start !== undefined && end !== undefined) {
      mappings.push({ start: Number.parseInt(start, 16), end: Number.parseInt(end, 16), flags: [] })
    } else if (line.startsWith('VmFlags:')) {
      mappings.at(-1)?.flags.push(...line.slice('VmFlags:'.length).trim().split(' '))
    }
  }
  return mappings
}

/**
 * Bytes that were excluded from forked children (MADV_DONTFORK) before, are still mapped, and are
 * no longer excluded.
 *
 * Leaves out memory that V8 itself has released: V8 replaces it with inaccessible memory and gives
 * no advice about that (Node 24, at the end of a Worker, whether or not it had a job). V8's
 * reservations carry MAP_NORESERVE, which advice does not change; the replacement does not carry
 * it, and contains nothing.
 *
 * @param {ReturnType<typeof flaggedMappings>} before
 * @param {ReturnType<typeof flaggedMappings>} after
 */
export function madeForkable(before, after) {
  let bytes = 0
  const givenUp = (/** @type {string[]} */ flags) =>
    !['rd', 'wr', 'ex', 'nr'].some((flag) => flags.includes(flag))
  const forkable = after.filter(({ flags }) => !flags.includes('dc') && !givenUp(flags))
  for (const { start, end } of before.filter(({ flags }) => flags.includes('dc'))) {
    for (const other of forkable) {
      bytes += Math.max(0, Math.min(end, other.end) - Math.max(start, other.start))
    }
  }
  return bytes
}
