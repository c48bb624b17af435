/**
 * What JavaScript may do in a forked copy of the process: compute, and hand over its results. There
 * are no other threads and there is no event loop, so whatever needs one is refused where possible.
 * Every change is made in the copy only.
 */

import { ChildProcess } from 'node:child_process'
import { syncBuiltinESMExports } from 'node:module'
import process from 'node:process'
import { types } from 'node:util'
import { deserialize, serialize } from 'node:v8'
import { Worker } from 'node:worker_threads'
import { isError } from '../base/errors.js'
import { enterFrozenCopy, refusalInFrozenCopy } from '../snapshot/frozen-copy.js'

/** The most bytes of a serialized error that come back; see `native/heap/control.h`. */
const maxFailureBytes = 65_536

/**
 * How many characters are kept of a message or stack that is too long to come back whole; each
 * takes two bytes at most.
 */
const maxDescribed = 10_000

// Taken now: what the service takes out of `process` later does not matter then.
const { getBuiltinModule } = process

/** Functions that start something that the copy cannot have. */
const refused: readonly (readonly [module: string, names: readonly string[]])[] = [
  ['node:child_process', ['exec', 'execFile', 'execFileSync', 'execSync', 'fork', 'spawn', 'spawnSync']],
  ['node:worker_threads', ['Worker']],
  ['node:cluster', ['fork']],
  ['node:timers', ['setImmediate', 'setInterval', 'setTimeout']],
]

/** Makes them throw, and those of this package too. What the service has locked stays as it is. */
export function refuseWhatCannotWork(): void {
  enterFrozenCopy()
  refuseWhatWasTakenBefore() // first: what is imported here changes with the exports
  for (const [module, names] of refused) {
    const exports = getBuiltinModule(module) as object
    for (const name of names) replace(exports, name, refuse(`${module.replace('node:', '')}.${name}`))
  }
  ifUnlocked(syncBuiltinESMExports)
  for (const name of ['setImmediate', 'setInterval', 'setTimeout']) replace(globalThis, name, refuse(name))
  // kill: process.pid is still the service's.
  for (const name of ['exit', 'reallyExit', 'abort', 'kill'])
    replace(process, name, refuse(`process.${name}`))
  leaveSignalsAlone()
}

/**
 * What the functions above call in the end, for callers that took one out of its module:
 * `const { spawnSync } = require(...)`.
 */
function refuseWhatWasTakenBefore(): void {
  replace(ChildProcess.prototype, 'spawn', refuse('child_process.spawn'))
  // Its constructor begins with a call of its base class.
  ifUnlocked(() => Object.setPrototypeOf(Worker, refuse('worker_threads.Worker')))
  const { binding } = process as unknown as { binding?: (name: string) => object }
  // Not under Node's permission model, which has its own answer to these functions.
  ifUnlocked(() => replace(binding?.('spawn_sync') ?? {}, 'spawn', refuse('child_process.spawnSync')))
}

/**
 * Listeners for signals are added and removed without libuv, which would end the copy, since the
 * pipe that it uses as a lock is closed there. Modules add some when they are loaded. No signal
 * that is caught arrives in the copy.
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
 * Hardened JavaScript freezes globals and exports. All of this is a convenience, and the callback
 * can do without it.
 */
function ifUnlocked(change: () => void): void {
  try {
    change()
  } catch {}
}

/** Works as a function and as a constructor. */
function refuse(what: string): () => never {
  return function refused(): never {
    throw refusalInFrozenCopy(what)
  }
}

/** What was thrown, with the parts of an error that the structured clone leaves out. */
interface Thrown {
  value: unknown
  name?: string
  code?: string | number
}

/** Bytes that tell as much of it as possible. */
export function serializeThrown(thrown: unknown): Uint8Array {
  for (const candidate of [() => thrown, () => describeThrown(thrown)]) {
    try {
      const bytes = serialize(withDetails(candidate()))
      // Node 20 cannot read back everything that it writes: an error whose cause leads back to the
      // error is an example.
      deserialize(bytes)
      if (bytes.length <= maxFailureBytes) return bytes
    } catch {
      // Not everything can be cloned, but a text can.
    }
  }
  return serialize({ value: 'something that cannot be described' } satisfies Thrown)
}

/** Runs in the service again. */
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
  // Nothing would be left of a DOMException: its message is a getter, which the clone does not
  // have.
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
