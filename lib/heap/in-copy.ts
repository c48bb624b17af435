/**
 * Sets up JavaScript for a forked copy of the process, which may only compute and hand over its
 * results. The copy has no other threads and no event loop, so whatever needs them is refused where
 * possible. All changes are made in the copy only.
 */

import { ChildProcess } from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'
import process from 'node:process'
import { types } from 'node:util'
import { deserialize, serialize } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { isError } from '../base/errors.js'
import { enterFrozenCopy, refusalInFrozenCopy } from '../snapshot/frozen-copy.js'

/** Maximum length of a serialized error that the copy sends back; see `native/heap/control.h`. */
const maxFailureBytes = 65_536

/**
 * Number of characters to keep of a message or stack that is too long to be sent whole; each takes
 * two bytes at most.
 */
const maxDescribed = 10_000

// Taken at import, so that it remains usable if the service removes it from `process` later.
const { getBuiltinModule } = process

/** Functions that start something that cannot run in the copy. */
const refused: readonly (readonly [module: string, names: readonly string[]])[] = [
  ['node:child_process', ['exec', 'execFile', 'execFileSync', 'execSync', 'fork', 'spawn', 'spawnSync']],
  ['node:worker_threads', ['Worker']],
  ['node:cluster', ['fork']],
  ['node:timers', ['setImmediate', 'setInterval', 'setTimeout']],
]

/**
 * Makes the refused functions throw, and this package's own functions too. Globals and exports that
 * the service has frozen stay as they are.
 */
export function refuseWhatCannotWork(): void {
  enterFrozenCopy()
  refuseWhatWasTakenBefore() // first: the imports of this module change with the exports
  for (const [module, names] of refused) {
    const exports = getBuiltinModule(module) as object
    for (const name of names) replace(exports, name, refuse(`${module.replace('node:', '')}.${name}`))
  }
  ifUnlocked(syncBuiltinESMExports)
  for (const name of ['setImmediate', 'setInterval', 'setTimeout']) replace(globalThis, name, refuse(name))
  // kill: in the copy, process.pid is still that of the service.
  for (const name of ['exit', 'reallyExit', 'abort', 'kill'])
    replace(process, name, refuse(`process.${name}`))
  leaveSignalsAlone()
}

/**
 * Replaces the internals that the refused functions end up calling. That covers callers that took a
 * function out of its module earlier: `const { spawnSync } = require(...)`.
 */
function refuseWhatWasTakenBefore(): void {
  replace(ChildProcess.prototype, 'spawn', refuse('child_process.spawn'))
  // The constructor of Worker begins by calling its base class.
  ifUnlocked(() => Object.setPrototypeOf(Worker, refuse('worker_threads.Worker')))
  const { binding } = process as unknown as { binding?: (name: string) => object }
  // Fails under Node's permission model, which restricts these functions itself.
  ifUnlocked(() => replace(binding?.('spawn_sync') ?? {}, 'spawn', refuse('child_process.spawnSync')))
}

/**
 * Lets listeners for signals be added and removed without libuv, which would end the copy: the pipe
 * that libuv uses as a lock is closed there. Some modules add such listeners when they are loaded.
 * No signal that is caught arrives in the copy.
 */
function leaveSignalsAlone(): void {
  for (const [event, name] of [
    ['newListener', 'startListeningIfSignal'],
    ['removeListener', 'stopListeningIfSignal'],
  ] as const) {
    const nodes = process.listeners(event as 'exit').find((listener) => listener.name === name)
    if (nodes !== undefined) ifUnlocked(() => process.removeListener(event, nodes))
  }
}

function replace(target: object, name: string, by: () => never): void {
  ifUnlocked(() => {
    ;(target as Record<string, unknown>)[name] = by
  })
}

/**
 * Ignores failures, since hardened JavaScript freezes globals and exports. Every change made here
 * is a convenience that the callback can do without.
 */
function ifUnlocked(change: () => void): void {
  try {
    change()
  } catch {}
}

/** Returns a function that throws both when called and when used as a constructor. */
function refuse(what: string): () => never {
  return function refused(): never {
    throw refusalInFrozenCopy(what)
  }
}

/** A thrown value, with the properties of an error that the structured clone leaves out. */
interface Thrown {
  value: unknown
  name?: string
  code?: string | number
}

/** Serializes a thrown value with as much detail as possible. */
export function serializeThrown(thrown: unknown): Uint8Array {
  for (const candidate of [() => thrown, () => describeThrown(thrown)]) {
    try {
      const bytes = serialize(withDetails(candidate()))
      // Node 20 cannot read back everything that it writes, such as an error whose cause leads back
      // to the error.
      deserialize(bytes)
      if (bytes.length <= maxFailureBytes) return bytes
    } catch {
      // Not everything can be cloned, but its description can.
    }
  }
  return serialize({ value: 'something that cannot be described' } satisfies Thrown)
}

/** The reverse of `serializeThrown()`. Runs in the service. */
export function deserializeThrown(bytes: Uint8Array): unknown {
  const { value, name, code } = deserialize(bytes) as Thrown
  if (!isError(value)) return value
  if (name !== undefined && value.name !== name) {
    Object.defineProperty(value, 'name', { value: name, configurable: true, writable: true })
  }
  return code === undefined ? value : Object.assign(value, { code })
}

function withDetails(value: unknown): Thrown {
  if (!isError(value)) return { value }
  // A DOMException would arrive empty: its message is a getter, which the clone omits.
  const clonable = types.isNativeError(value) && (value.message === '' || Object.hasOwn(value, 'message'))
  if (!clonable) throw new TypeError('cannot be cloned')
  const { code } = value as { code?: unknown }
  const name = String(value.name)
  return typeof code === 'string' || typeof code === 'number' ? { value, name, code } : { value, name }
}

function describeThrown(thrown: unknown): unknown {
  const text = String(isError(thrown) ? thrown.message : thrown).slice(0, maxDescribed)
  if (!isError(thrown)) return text
  const error = Object.assign(new Error(text), { code: (thrown as { code?: unknown }).code })
  error.name = String(thrown.name).slice(0, 100)
  error.stack = String(thrown.stack).slice(0, maxDescribed)
  return error
}
