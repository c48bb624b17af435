/** Process information from the kernel (parents, states), for tests and their fixtures. */

import { readdirSync, readFileSync } from 'node:fs'

/**
 * The living children of all threads of a process, including zombies; none if the process is gone.
 *
 * @param {number} pid
 * @returns {number[]}
 */
export function childrenOf(pid) {
  const threads = orNone(() => readdirSync(`/proc/${pid}/task`)) ?? []
  return threads.flatMap((thread) => {
    const text = orNone(() => readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8')) ?? ''
    return text.split(' ').filter(Boolean).map(Number)
  })
}

/**
 * The state letter of ps: R, S, D, T (stopped), Z (zombie); undefined if there is no such process.
 *
 * @param {number} pid
 * @returns {string | undefined}
 */
export function stateOf(pid) {
  return statOf(pid)?.[0]
}

/**
 * The fields of /proc/<pid>/stat after the name, beginning with the third of proc(5); undefined if
 * there is no such process.
 *
 * @param {number} pid
 */
export function statOf(pid) {
  const text = orNone(() => readFileSync(`/proc/${pid}/stat`, 'utf8'))
  // The name is in parentheses and may contain any character.
  return text?.slice(text.lastIndexOf(')') + 2).split(' ')
}

/**
 * The signal numbers in a mask of /proc/<pid>/status.
 *
 * @param {number | 'self'} pid
 * @param {string} field - such as `'SigBlk'`.
 * @param {number | string | undefined} [thread]
 */
export function signalsIn(pid, field, thread = pid) {
  const status = readFileSync(`/proc/${pid}/task/${thread}/status`, 'utf8')
  const mask = BigInt(`0x${new RegExp(`^${field}:\\s*(.*)$`, 'm').exec(status)?.[1]}`)
  return Array.from({ length: 64 }, (_, index) => index + 1).filter(
    (number) => (mask >> BigInt(number - 1)) & 1n,
  )
}

/**
 * True if a process is neither running nor a zombie.
 *
 * @param {number} pid
 */
export function isGone(pid) {
  return stateOf(pid) === undefined
}

/**
 * True if nothing of a process runs any longer: it is gone, or is a zombie that its adoptive parent
 * has not reaped.
 *
 * @param {number} pid
 */
export function hasEnded(pid) {
  const state = stateOf(pid)
  return state === undefined || state === 'Z' || state === 'X'
}

/**
 * All processes that still run in a session. A fixture started as `detached` leads its own session,
 * and the children of its captures remain in it whatever happens to the fixture.
 *
 * @param {number} leader
 * @returns {number[]}
 */
export function runningInSession(leader) {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      const [state = 'X', , , session] = statOf(pid) ?? []
      return Number(session) === leader && !'ZX'.includes(state)
    })
}

/**
 * The name of a process in /proc/<pid>/comm.
 *
 * @param {number} pid
 * @returns {string | undefined}
 */
export function nameOf(pid) {
  return orNone(() => readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd())
}

/**
 * The ids of the threads of this process with the given name.
 *
 * @param {string} name
 */
export function threadsNamed(name) {
  return readdirSync('/proc/self/task')
    .map(Number)
    .filter((id) => nameOf(id) === name)
}

/**
 * Waits until `condition` holds.
 *
 * @param {() => boolean} condition
 * @param {string} what - completes "waited in vain until".
 * @param {number} [limitMs]
 */
export async function waitUntil(condition, what, limitMs = 120_000) {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`)
    await new Promise((resolve) => setTimeout(resolve, 5))
  }
}

/**
 * Like waitUntil(), for code that must not let its event loop turn.
 *
 * @param {() => boolean} condition
 * @param {string} what
 * @param {number} [limitMs]
 */
export function spinUntil(condition, what, limitMs = 120_000) {
  const end = performance.now() + limitMs
  while (!condition()) {
    if (performance.now() > end) throw new Error(`waited ${limitMs} ms in vain until ${what}`)
  }
}

/**
 * @template T
 * @param {() => T} read
 * @returns {T | undefined}
 */
function orNone(read) {
  try {
    return read()
  } catch {
    return undefined
  }
}
